// SPDX-License-Identifier: Apache-2.0
/** The packing of an image: what the reader found inside, then every stripe, of its own bytes (R20). */
import { fstatSync } from 'node:fs';
import type { ReadableDisk } from '../disks/guest-disks.js';
import { ParsError } from '../errors.js';
import type { StripeLayout } from '../native.js';
import {
  EXPENDABLE,
  FRAME_DISK,
  FRAME_DISK_RECOVERY,
  FRAME_RECOVERY,
  FRAME_SKELETON,
  PAGE_CLASSES,
  type PageClass,
} from '../page-classes.js';
import { mostStripes, mostTableBytes } from './frame-bounds.js';
import type { ImageFacts, InspectionFacts, ReferenceFacts } from './inspection.js';
import { MESSAGE, parseJson, Reader, type ReaderOptions } from './reader.js';
import { badAnswer, inspectionFacts } from './reader-answers.js';
import { factsOfImage } from './save-header.js';
import type { Stripe } from './stripe.js';
import { type PackTerms, StripePacker } from './stripe-packer.js';

const MAX_STRIPE = 64 << 20;
const MAX_TABLES = 4;
/** Stripes in work while one is being stored. */
const AHEAD = 2;
const CLEAN_CACHE = PAGE_CLASSES.indexOf('clean-cache');

/** What a session works with. */
interface Means {
  reader: Reader;
  packer: StripePacker;
  bytes: number;
  options: ReaderOptions;
}

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
  readonly #packer: StripePacker;
  readonly #options: ReaderOptions;

  private constructor(
    { reader, packer, bytes, options }: Means,
    image: ImageFacts | null,
    inspection: InspectionFacts | null,
    references: ReferenceFacts | null = null,
  ) {
    this.#reader = reader;
    this.#options = options;
    this.#packer = packer;
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
      const packer = await StripePacker.open(imageFd);
      return new PackSession({ reader, packer, bytes, options }, image, inspection, references);
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
      const packer = await StripePacker.open(imageFd);
      return new PackSession({ reader, packer, bytes, options }, image, null);
    } catch (error) {
      await reader.close();
      throw error;
    }
  }

  /**
   * Every stripe in image order, from the first byte to the last. Classes not `stored` come as frames without
   * data. Every byte is the image's own.
   */
  async *pack(stored: readonly PageClass[], level = 1): AsyncGenerator<Stripe> {
    for (const name of PAGE_CLASSES)
      if (!EXPENDABLE.has(name) && !stored.includes(name))
        throw new ParsError('internal', `the critical class ${name} would not be stored`);
    const terms = this.#terms(stored, level);
    const inWork: Promise<Stripe>[] = [];
    for await (const layout of this.#layouts()) {
      inWork.push(this.#packer.pack(layout, terms));
      if (inWork.length > AHEAD) yield await this.#next(inWork);
    }
    while (inWork.length > 0) yield await this.#next(inWork);
  }

  async close(): Promise<void> {
    await this.#reader.close();
    await this.#packer.close();
  }

  async #next(inWork: Promise<Stripe>[]): Promise<Stripe> {
    const stripe = (await inWork.shift())!;
    this.#options.signal?.throwIfAborted();
    const kinds = stripe.frames.map(({ kind }) => kind);
    if (kinds.includes(CLEAN_CACHE) && !kinds.includes(FRAME_RECOVERY))
      throw badAnswer('clean cache without its recovery');
    const done = stripe.imageOffset + stripe.imageBytes;
    this.#options.onProgress?.({ phase: 'storing', done, total: this.#bytes, unit: 'bytes' });
    return stripe;
  }

  /** What the reader says of the stripes, which must follow each other to the image's end. */
  async *#layouts(): AsyncGenerator<StripeLayout> {
    this.#reader.send(MESSAGE.pack, {});
    let end = 0,
      stripesLeft = mostStripes(this.#bytes),
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
      const layout = await this.#layout(message.payload);
      if (--stripesLeft < 0) throw badAnswer('more stripes than an image of its length has');
      if (layout.imageOffset !== end) throw badAnswer('a gap between stripes');
      if (layout.imageBytes > this.#bytes - end) throw badAnswer('a stripe past the end of the image');
      if (end === 0 && this.inspection && this.image?.headEnd && layout.imageBytes !== this.image.headEnd)
        throw badAnswer('a first stripe that is not the head');
      end += layout.imageBytes;
      yield layout;
    }
    if (end !== this.#bytes) throw badAnswer(`stripes of ${end} bytes for an image of ${this.#bytes}`);
  }

  #terms(stored: readonly PageClass[], level: number): PackTerms {
    const headEnd = this.inspection === null ? 0 : (this.image?.headEnd ?? 0);
    const blocks = this.inspection?.stream.mappedBlocks ?? [];
    return { imageBytes: this.#bytes, headEnd, blocks, stored, level };
  }

  /** A hole is places of zero pages in a sparse image. */
  #mayHaveHoles(): boolean {
    return (this.inspection?.stream.mappedBlocks.length ?? 0) > 0;
  }

  async #layout(header: Buffer): Promise<StripeLayout> {
    const imageOffset = Number(header.readBigUInt64LE(0)),
      imageBytes = Number(header.readBigUInt64LE(8));
    const tableCount = header.readUInt32LE(16);
    const hole = {
      imageOffset,
      imageBytes,
      runs: null,
      references: null,
      recovery: null,
      diskRecovery: null,
    };
    if (tableCount === 0 && imageBytes > 0 && this.#mayHaveHoles()) return hole;
    if (imageBytes === 0 || imageBytes > MAX_STRIPE || tableCount > MAX_TABLES)
      throw badAnswer('a stripe of an impossible size');
    let room = mostTableBytes(imageBytes);
    const take = (bytes: number): Buffer => {
      room -= bytes;
      if (room < 0) throw badAnswer('tables longer than any of their stripe');
      return Buffer.allocUnsafe(bytes);
    };
    const tables = new Map<number, Buffer>();
    for (let i = 0; i < tableCount; i++) {
      const table = await this.#reader.expect(MESSAGE.table, take);
      const kind = table.length > 0 ? table.readUInt8(0) : -1;
      if (tables.has(kind) || !this.#mayTell(kind)) throw badAnswer(`a table of kind ${kind}`);
      tables.set(kind, table.subarray(1));
    }
    const of = (kind: number): Buffer | null => tables.get(kind) ?? null;
    if (of(FRAME_SKELETON) === null) throw badAnswer('a stripe without a run table');
    return {
      imageOffset,
      imageBytes,
      runs: of(FRAME_SKELETON),
      references: of(FRAME_DISK),
      recovery: of(FRAME_RECOVERY),
      diskRecovery: of(FRAME_DISK_RECOVERY),
    };
  }

  /** Of disks only when some were compared. */
  #mayTell(kind: number): boolean {
    if (kind === FRAME_SKELETON || kind === FRAME_RECOVERY) return true;
    return this.references !== null && (kind === FRAME_DISK || kind === FRAME_DISK_RECOVERY);
  }
}
