// SPDX-License-Identifier: Apache-2.0
/** The reader's packing of an image: what it found inside, then every stripe, each proved (R20). */
import { fstatSync } from 'node:fs';
import type { ReadableDisk } from '../disks/guest-disks.js';
import { ParsError } from '../errors.js';
import { EXPENDABLE, LAST_FRAME, PAGE_CLASSES, type PageClass } from '../page-classes.js';
import { checkFrames, checkStored, mostFrameBytes, mostStripes } from './frame-checks.js';
import type { ImageFacts, InspectionFacts, ReferenceFacts } from './inspection.js';
import { MESSAGE, parseJson, Reader, type ReaderOptions } from './reader.js';
import { badAnswer, inspectionFacts } from './reader-answers.js';
import type { ReaderFrame, ReaderStripe } from './reader-stripe.js';
import { factsOfImage } from './save-header.js';
import { StripeMemory, type StripeBlock } from './stripe-memory.js';
import { type ProofTerms, StripeProofs } from './stripe-proof.js';

const MAX_STRIPE = 64 << 20;

/** The look inside, followed by the image's frames. */
export class PackSession {
  /** Null when an image stored whole has no header that parses. */
  readonly image: ImageFacts | null;
  /** Null when the image is stored whole, without a look inside. */
  readonly inspection: InspectionFacts | null;
  /** What the disks hold of the cache; null when there was none to compare with. */
  readonly references: ReferenceFacts | null;
  readonly #reader: Reader;
  readonly #bytes: number;
  readonly #memory = new StripeMemory();
  readonly #proofs: StripeProofs;

  private constructor(
    reader: Reader,
    proofs: StripeProofs,
    bytes: number,
    image: ImageFacts | null,
    inspection: InspectionFacts | null,
    references: ReferenceFacts | null = null,
  ) {
    this.#reader = reader;
    this.#proofs = proofs;
    this.#bytes = bytes;
    this.image = image;
    this.inspection = inspection;
    this.references = references;
  }

  /**
   * Looks inside, compares with `disks`, and waits: what they hold will come as references. Throws ImageError
   * when the image does not parse.
   */
  static async look(
    imageFd: number,
    options: ReaderOptions = {},
    disks: readonly ReadableDisk[] = [],
  ): Promise<PackSession> {
    const reader = new Reader('pack', imageFd, options, disks);
    try {
      const bytes = fstatSync(imageFd).size;
      const image = factsOfImage(parseJson(await reader.expect(MESSAGE.image)), imageFd);
      const inspection = inspectionFacts(parseJson(await reader.expect(MESSAGE.inspection)), bytes);
      const references = await reader.references(disks, inspection);
      const proofs = await StripeProofs.open(imageFd);
      return new PackSession(reader, proofs, bytes, image, inspection, references);
    } catch (error) {
      await reader.close();
      throw error;
    }
  }

  /**
   * The image as it is, for those that cannot be looked into: all of it skeleton, all of it critical.
   * `image`: from an earlier probe, or null.
   */
  static async whole(
    imageFd: number,
    image: ImageFacts | null,
    options: ReaderOptions = {},
  ): Promise<PackSession> {
    const bytes = fstatSync(imageFd).size;
    const reader = new Reader('whole', imageFd, options);
    try {
      return new PackSession(reader, await StripeProofs.open(imageFd), bytes, image, null);
    } catch (error) {
      await reader.close();
      throw error;
    }
  }

  /**
   * Every stripe in image order, from the first byte to the last. Classes not `stored` come as frames without
   * data. Once it has ended each is proved to be the image's bytes, and not before.
   */
  async *pack(stored: readonly PageClass[], level = 1): AsyncGenerator<ReaderStripe> {
    for (const name of PAGE_CLASSES)
      if (!EXPENDABLE.has(name) && !stored.includes(name))
        throw new ParsError('internal', `the critical class ${name} would not be stored`);
    this.#reader.send(MESSAGE.pack, { stored, level });
    let end = 0;
    let stripesLeft = mostStripes(this.#bytes),
      isTold = this.inspection !== null;
    for (;;) {
      const message = await this.#reader.next();
      if (message.type === MESSAGE.image && !isTold) {
        isTold = true;
        continue;
      }
      if (message.type === MESSAGE.end) break;
      if (message.type !== MESSAGE.stripe || message.payload.length !== 20)
        throw badAnswer(`message ${message.type} where a stripe is due`);
      const { stripe, whenProved } = await this.#stripe(message.payload);
      if (--stripesLeft < 0) throw badAnswer('more stripes than an image of its length has');
      if (stripe.imageOffset !== end) throw badAnswer('a gap between stripes');
      if (stripe.imageBytes > this.#bytes - end) throw badAnswer('a stripe past the end of the image');
      if (end === 0 && this.inspection && this.image?.headEnd && stripe.imageBytes !== this.image.headEnd)
        throw badAnswer('a first stripe that is not the head');
      checkStored(stripe.frames, stored);
      end += stripe.imageBytes;
      await this.#proofs.add(stripe, this.#terms(), whenProved);
      yield stripe;
    }
    await this.#proofs.finish();
    if (end !== this.#bytes) throw badAnswer(`stripes of ${end} bytes for an image of ${this.#bytes}`);
  }

  async close(): Promise<void> {
    await this.#reader.close();
    await this.#proofs.close();
  }

  #terms(): ProofTerms {
    const headEnd = this.inspection === null ? 0 : (this.image?.headEnd ?? 0);
    return { imageBytes: this.#bytes, headEnd, blocks: this.inspection?.stream.mappedBlocks ?? [] };
  }

  /** A hole is places of zero pages in a sparse image. */
  #mayHaveHoles(): boolean {
    return (this.inspection?.stream.mappedBlocks.length ?? 0) > 0;
  }

  async #stripe(header: Buffer): Promise<{ stripe: ReaderStripe; whenProved: () => void }> {
    const imageOffset = Number(header.readBigUInt64LE(0)),
      imageBytes = Number(header.readBigUInt64LE(8));
    const frameCount = header.readUInt32LE(16);
    if (frameCount === 0 && imageBytes > 0 && this.#mayHaveHoles())
      return { stripe: { imageOffset, imageBytes, frames: [] }, whenProved: () => undefined };
    if (imageBytes === 0 || imageBytes > MAX_STRIPE || frameCount > LAST_FRAME + 1)
      throw badAnswer('a stripe of an impossible size');
    const frames: ReaderFrame[] = [];
    const block = this.#memory.begin();
    let room = mostFrameBytes(imageBytes);
    const take = (bytes: number): Buffer => {
      room -= bytes;
      if (room < 0) throw badAnswer('frames longer than their stripe');
      return block.take(bytes);
    };
    for (let i = 0; i < frameCount; i++)
      frames.push(parseFrame(await this.#reader.expect(MESSAGE.frame, take), block));
    checkFrames(frames, imageBytes, this.references !== null);
    return { stripe: { imageOffset, imageBytes, frames }, whenProved: () => block.release() };
  }
}

function parseFrame(payload: Buffer, block: StripeBlock): ReaderFrame {
  if (payload.length < 12) throw badAnswer('a frame without a head');
  return {
    kind: payload.readUInt8(0),
    pages: payload.readUInt32LE(4),
    rawBytes: payload.readUInt32LE(8),
    data: payload.subarray(12),
    release: () => block.release(),
  };
}
