// SPDX-License-Identifier: Apache-2.0
/**
 * The proof that what the reader packed is the image (R20): this process, which no image has touched, puts
 * each stripe's frames into place as restore would, and compares them with the file itself. The reader has
 * read hostile bytes, and may be anybody's by then (R1).
 */
import { type FileHandle, open } from 'node:fs/promises';
import { ParsError } from '../errors.js';
import { awaitedElsewhere, bestEffort } from '../system/best-effort.js';
import { native } from '../native.js';
import { FRAME_SKELETON } from '../page-classes.js';
import type { MappedBlock } from './inspection.js';
import type { ReaderStripe } from './reader-stripe.js';

/** What the frames of an image must be like. */
export interface ProofTerms {
  imageBytes: number;
  /** Before it there is no page of the guest's; 0 when nothing was looked into. */
  headEnd: number;
  blocks: readonly MappedBlock[];
}

/** Stripe by stripe, each while the next one is being read. */
export class StripeProofs {
  readonly #file: FileHandle;
  #last: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** With a descriptor of its own: the caller may close `imageFd` while stripes come. */
  static async open(imageFd: number): Promise<StripeProofs> {
    return new StripeProofs(await open(`/proc/self/fd/${imageFd}`, 'r'));
  }

  /**
   * Begins with a stripe when those before it are proved; throws if one of them was not. `whenDone`: its
   * frames are not looked at any more.
   */
  async add(stripe: ReaderStripe, terms: ProofTerms, whenDone: () => void): Promise<void> {
    await this.#last;
    this.#last = this.#prove(stripe, terms).finally(whenDone);
    awaitedElsewhere(this.#last);
  }

  /** Throws unless all of them are the image's bytes. */
  async finish(): Promise<void> {
    await this.#last;
  }

  /** Safe twice. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await bestEffort(this.#last);
    await this.#file.close();
  }

  /** Throws 'corrupt' unless the frames are the image's bytes there. */
  async #prove({ imageOffset, imageBytes, frames }: ReaderStripe, terms: ProofTerms): Promise<void> {
    const isHead = terms.headEnd === 0 || imageOffset < terms.headEnd;
    if (isHead && frames.some(({ kind }) => kind !== FRAME_SKELETON))
      throw notTheImage(imageOffset, 'pages of the guest before the first of them');
    const claims = frames.map(({ kind, rawBytes, data }) => ({
      kind,
      rawBytes,
      data: data.length === 0 ? null : data,
      lost: data.length === 0 ? ('in-place' as const) : null,
    }));
    try {
      await native().proveStripe({
        fd: this.#file.fd,
        imageOffset,
        imageBytes,
        frames: claims,
        blocks: terms.blocks,
        writable: [terms.headEnd, terms.imageBytes],
      });
    } catch (error) {
      // A call that the addon does not know, or does not take, says nothing of the image.
      if (!(error instanceof Error) || error instanceof TypeError) throw error;
      throw notTheImage(imageOffset, error.message, error);
    }
  }
}

function notTheImage(offset: number, why: string, cause?: unknown): ParsError {
  return new ParsError(
    'corrupt',
    `what pars-reader packed is not what the image holds at byte ${offset}: ${why}`,
    {
      hint:
        'the image is as it was. It may be hostile, or memory of this host faulty; keep it and report '
        + 'this',
      ...(cause !== undefined && { cause }),
    },
  );
}
