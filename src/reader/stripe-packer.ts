// SPDX-License-Identifier: Apache-2.0
/**
 * Frames of an image, each byte of them copied out of the image by this process, which parses no image (R20).
 * The reader only tells which page belongs to which frame: it has read hostile bytes, and may be anybody's by
 * then (R1).
 */
import { type FileHandle, open } from 'node:fs/promises';
import { ParsError } from '../errors.js';
import { awaitedElsewhere, bestEffort } from '../system/best-effort.js';
import { native, type StripeLayout } from '../native.js';
import { FRAME_SKELETON, PAGE_CLASSES, type PageClass } from '../page-classes.js';
import { mostFrameBytes } from './frame-bounds.js';
import type { MappedBlock } from './inspection.js';
import type { Frame, Stripe } from './stripe.js';
import { StripeMemory } from './stripe-memory.js';

/** What the frames of an image must be like. */
export interface PackTerms {
  imageBytes: number;
  /** Before it there is no page of the guest's; 0 when nothing was looked into. */
  headEnd: number;
  blocks: readonly MappedBlock[];
  /** Of other classes the frames come without data. */
  stored: readonly PageClass[];
  /** zstd level. */
  level: number;
}

export class StripePacker {
  readonly #file: FileHandle;
  readonly #memory = new StripeMemory();
  /** Whoever looks at the file. */
  readonly #inWork = new Set<Promise<unknown>>();
  #closed = false;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** With a descriptor of its own: the caller may close `imageFd` while stripes come. */
  static async open(imageFd: number): Promise<StripePacker> {
    return new StripePacker(await open(`/proc/self/fd/${imageFd}`, 'r'));
  }

  /**
   * The stripe's frames, skeleton first; several may be in work. Throws 'corrupt' when the image has no such
   * stripe there.
   */
  pack(layout: StripeLayout, terms: PackTerms): Promise<Stripe> {
    const work = this.#pack(layout, terms);
    this.#inWork.add(work);
    awaitedElsewhere(work.finally(() => this.#inWork.delete(work)));
    return work;
  }

  /** Safe twice. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([...this.#inWork].map(bestEffort));
    await this.#file.close();
  }

  async #pack(layout: StripeLayout, terms: PackTerms): Promise<Stripe> {
    const { imageOffset, imageBytes } = layout;
    const { runs, references, recovery, diskRecovery } = layout;
    const tables = [runs, references, recovery, diskRecovery].reduce(
      (sum, table) => sum + (table?.length ?? 0),
      0,
    );
    const block = this.#memory.begin(runs === null ? 0 : mostFrameBytes(imageBytes, tables));
    const packed = await native()
      .packStripe({
        ...layout,
        fd: this.#file.fd,
        wanted: terms.stored.map((name) => PAGE_CLASSES.indexOf(name)),
        level: terms.level,
        blocks: terms.blocks,
        writable: [terms.headEnd, terms.imageBytes],
        into: block.memory,
      })
      .catch((error: unknown) => {
        block.release();
        throw notTheImage(imageOffset, error);
      });
    const isHead = terms.headEnd === 0 || imageOffset < terms.headEnd;
    if (isHead && packed.some(({ kind }) => kind !== FRAME_SKELETON))
      throw notTheImage(imageOffset, new Error('pages of the guest before the first of them'));
    const frames = packed.map(({ bytes, ...frame }): Frame => {
      return { ...frame, data: block.take(bytes), release: () => block.release() };
    });
    block.release();
    return { imageOffset, imageBytes, frames };
  }
}

function notTheImage(offset: number, cause: unknown): unknown {
  // A call that the addon does not know, or does not take, says nothing of the image.
  if (!(cause instanceof Error) || cause instanceof TypeError) return cause;
  return new ParsError(
    'corrupt',
    `what pars-reader says of the image is not what stands there at byte ${offset}: ${cause.message}`,
    {
      hint:
        'the image is as it was. It may be hostile, or memory of this host faulty; keep it and report '
        + 'this',
      cause,
    },
  );
}
