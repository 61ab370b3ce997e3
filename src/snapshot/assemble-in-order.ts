// SPDX-License-Identifier: Apache-2.0
/**
 * Rebuilds an image as a stream, from its first byte to its last, for those who cannot go back: a compressor.
 * A page that turns out to be lost late may change, by its recovery, what was given out already; then all
 * starts over with the losses known.
 */
import { assemble, type AssembleOptions, type Losses, type Sink } from './assemble.js';
import { ParsError } from '../errors.js';
import { isStored, type IndexFrame, type IndexStripe } from './index-table.js';
import { FRAME_DISK, isExpendableKind } from '../page-classes.js';
import { type DiskPlaces, ReferencedPages } from './referenced-pages.js';
import { isLoss, type SnapshotSource } from './snapshot-source.js';

export interface InOrderOptions extends DiskPlaces, Pick<AssembleOptions, 'onProgress'> {
  /** The first byte to give out. */
  from: number;
}

type Write = (data: Buffer) => Promise<void>;
/** Gives out everything, once. */
export type Produce = (write: Write) => Promise<Losses>;

const ATTEMPTS = 4;

/**
 * Gives the bytes of the packed image from `from` on to the writer of `attempt`, in order. There may be
 * several attempts: what was written before the last one is to be forgotten.
 */
export async function assembleInOrder<T>(
  source: SnapshotSource,
  options: InOrderOptions,
  attempt: (produce: Produce) => Promise<T>,
): Promise<T> {
  const lost = new Set<IndexFrame>();
  for (let n = 1; ; n++) {
    try {
      return await attempt((write) =>
        assemble(source, new InOrder(options.from, write), {
          layout: 'packed',
          firstStripe: 0,
          ...options,
          lost,
        }),
      );
    } catch (error) {
      if (!(error instanceof TooLate)) throw error;
      if (n === ATTEMPTS)
        throw new ParsError(
          'unreachable',
          `more of ${source.manifest.snapshot} gets lost each time it is read`,
          { hint: 'look at the store: pars verify' },
        );
    }
    await findLosses(source, lost, options);
  }
}

/**
 * Reads everything that may be lost, in the store and on the guest's disks, to know what is lost before
 * anything is given out.
 */
async function findLosses(
  source: SnapshotSource,
  lost: Set<IndexFrame>,
  options: InOrderOptions,
): Promise<void> {
  const disks = await ReferencedPages.open(source, options);
  try {
    for (const stripe of source.stripes) {
      for (const frame of stripe.frames.filter((candidate) => !lost.has(candidate))) {
        options.signal?.throwIfAborted();
        if (await isGone(source, disks, frame, stripe)) lost.add(frame);
      }
    }
  } finally {
    await disks.close();
  }
}

async function isGone(
  source: SnapshotSource,
  disks: ReferencedPages,
  frame: IndexFrame,
  stripe: IndexStripe,
): Promise<boolean> {
  if (frame.kind === FRAME_DISK) return (await disks.read(frame, stripe)).lostPages > 0;
  if (!isExpendableKind(frame.kind) || !isStored(frame)) return false;
  return source.read(frame).then(
    () => false,
    (error: unknown) => {
      if (!isLoss(error)) throw error;
      return true;
    },
  );
}

class TooLate extends Error {}

/** Holds stripes that are ready early until it is their turn. */
class InOrder implements Sink {
  readonly #from: number;
  readonly #write: Write;
  readonly #waiting = new Set<{ proceed: () => void; giveUp: (error: unknown) => void }>();
  #next = 0;
  #failure: { error: unknown } | null = null;

  constructor(from: number, write: Write) {
    this.#from = from;
    this.#write = write;
  }

  async write(data: Buffer, offset: number): Promise<void> {
    if (offset < this.#next) throw new TooLate();
    while (offset > this.#next) {
      if (this.#failure) throw this.#failure.error;
      await new Promise<void>((proceed, giveUp) => this.#waiting.add({ proceed, giveUp }));
    }
    const skip = Math.min(data.length, Math.max(0, this.#from - offset));
    if (skip < data.length) await this.#write(data.subarray(skip));
    this.#next = offset + data.length;
    for (const { proceed } of this.#take()) proceed();
  }

  abandon(error: unknown): void {
    this.#failure ??= { error };
    for (const { giveUp } of this.#take()) giveUp(error);
  }

  #take(): { proceed: () => void; giveUp: (error: unknown) => void }[] {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    return waiting;
  }
}
