// SPDX-License-Identifier: Apache-2.0
/**
 * Rebuilds an image from a snapshot, stripe by stripe. Expendable pages that are unavailable come back as
 * zeros, with the recovery writes that make the guest forget it had them; anything else that is unavailable
 * ends the work (docs/format.md, "Restore").
 */
import { ParsError } from '../errors.js';
import { decoded } from './decoding.js';
import { isStored, type IndexFrame, type IndexStripe } from './index-table.js';
import { native, type StripeFrame } from '../native.js';
import {
  FRAME_DISK,
  FRAME_DISK_RECOVERY,
  FRAME_FILL,
  FRAME_RECOVERY,
  PAGE_BYTES,
  PAGE_CLASSES,
  isExpendableKind,
} from '../page-classes.js';
import type { OnProgress } from '../progress.js';
import { RecoveryWrites } from './recovery-writes.js';
import { type DiskPlaces, ReferencedPages } from './referenced-pages.js';
import { describeFrame, isLoss, lossOf, type SnapshotSource } from './snapshot-source.js';

/**
 * 'in-place': every byte keeps its offset. 'packed': pages lost by policy become zero records and the image
 * gets shorter.
 */
export type Layout = 'in-place' | 'packed';

/** Where rebuilt bytes go; called from several stripes at once, and twice for a stripe that changes late. */
export interface Sink {
  /** `data` is used again once this resolves. */
  write(data: Buffer, offset: number): Promise<void>;
  /** No more will come: whoever waits for its turn is to give up. */
  abandon?(error: unknown): void;
}

export interface AssembleOptions extends DiskPlaces {
  layout: Layout;
  /** First stripe to write; 1 leaves the head alone. */
  firstStripe: number;
  /** Frames whose every copy is known to be bad; those found meanwhile join them. */
  lost?: Set<IndexFrame>;
  onProgress?: OnProgress;
}

/** What did not come back as it was. */
export interface Losses {
  /** Pages the policy had not stored. */
  byPolicy: number;
  /** Expendable pages whose every copy is gone. */
  unexpected: number;
  /**
   * Of both: cached pages that the guest was made to forget, so that it reads them again. The others were
   * free.
   */
  recovered: number;
}

/** A zero record has one byte where a page has 4096. */
const PACKED_SAVES = 4095;
/** Two cores at work, one stripe being read or written meanwhile. */
const IN_FLIGHT = 3;
const RECOVERIES: ReadonlySet<number> = new Set([FRAME_RECOVERY, FRAME_DISK_RECOVERY]);

/** Length of the rebuilt image. */
export function outputBytes(stripes: readonly IndexStripe[], layout: Layout): number {
  return stripes.reduce((sum, stripe) => sum + stripeOutput(stripe, layout), 0);
}

/** The most bytes that are not zero in the rebuilt image, every byte at its offset. */
export function filledBytes(stripes: readonly IndexStripe[]): number {
  const isZero = (frame: IndexFrame): boolean =>
    frame.kind === FRAME_FILL || (frame.kind < FRAME_FILL && !isStored(frame));
  return stripes.reduce(
    (sum, { imageBytes, frames }) =>
      sum + (frames.length === 0 ? 0 : imageBytes - PAGE_BYTES * pagesOf(frames.filter(isZero))),
    0,
  );
}

/** Rebuilds all stripes from `firstStripe` on into `sink`; holes are left out. */
export async function assemble(
  source: SnapshotSource,
  sink: Sink,
  options: AssembleOptions,
): Promise<Losses> {
  const disks = await ReferencedPages.open(source, options);
  try {
    return await new Assembly(source, disks, sink, options).run();
  } finally {
    await disks.close();
  }
}

class Assembly {
  readonly #source: SnapshotSource;
  readonly #disks: ReferencedPages;
  readonly #sink: Sink;
  readonly #options: AssembleOptions;
  readonly #stripes: readonly IndexStripe[];
  readonly #offsets: number[];
  readonly #writes: RecoveryWrites;
  /** Frames whose every copy turned out bad, and references to what a disk does not hold any more. */
  readonly #lost: Set<IndexFrame>;
  /** Of such references, how many pages. */
  readonly #lostOnDisk = new Map<IndexFrame, number>();
  /**
   * Memory for a stripe, one for each that is under way; fresh memory for every stripe would cost more than
   * filling it.
   */
  readonly #room: Buffer[] = [];
  /** Recovery frames whose writes are known. */
  readonly #recovered = new Set<IndexFrame>();
  /** Stripes whose recovery writes were taken: writes that come later mean the stripe is rebuilt. */
  readonly #taken = new Set<number>();
  readonly #again = new Set<number>();
  #done = 0;

  constructor(source: SnapshotSource, disks: ReferencedPages, sink: Sink, options: AssembleOptions) {
    this.#source = source;
    this.#disks = disks;
    this.#sink = sink;
    this.#options = options;
    this.#stripes = source.stripes;
    this.#lost = options.lost ?? new Set();
    this.#writes = new RecoveryWrites(source.stripes);
    this.#offsets = offsetsOf(source.stripes, options.layout);
  }

  async run(): Promise<Losses> {
    const numbers = this.#stripes.map((_, i) => i);
    await this.#forEach(numbers, (i) => this.#recoverLost(i));
    let todo = numbers.slice(this.#options.firstStripe);
    while (todo.length > 0) {
      this.#again.clear();
      await this.#forEach(todo, (i) => this.#rebuild(i));
      todo = [...this.#again].sort((a, b) => a - b);
    }
    return {
      byPolicy: this.#pagesLostByPolicy(),
      unexpected: [...this.#lost].reduce((sum, frame) => sum + this.#pagesLostOf(frame), 0),
      recovered: this.#pagesRecovered(),
    };
  }

  async #rebuild(i: number): Promise<void> {
    const stripe = this.#stripes[i]!;
    if (stripe.frames.length === 0) return this.#report(stripe.imageBytes);
    const frames = await this.#fetch(stripe);
    await this.#recoverLost(i);
    this.#taken.add(i);
    this.#again.delete(i);
    const into = this.#roomFor(stripe.imageBytes);
    const data = await decoded(
      `stripe ${i} of ${this.#source.manifest.snapshot}`,
      native().assembleStripe({
        imageOffset: stripe.imageOffset,
        imageBytes: stripe.imageBytes,
        frames,
        writes: this.#writes.of(i),
        into,
      }),
    );
    const expected = stripeOutput(stripe, this.#options.layout);
    if (data.length !== expected)
      throw new ParsError(
        'corrupt',
        `stripe ${i} of ${this.#source.manifest.snapshot} became ${data.length} bytes, not ${expected}`,
      );
    await this.#sink.write(data, this.#offsets[i]!);
    this.#room.push(into);
    this.#report(data.length);
  }

  #roomFor(bytes: number): Buffer {
    const idle = this.#room.pop();
    return idle && idle.length >= bytes ? idle : Buffer.allocUnsafeSlow(bytes);
  }

  #fetch(stripe: IndexStripe): Promise<StripeFrame[]> {
    const needed = stripe.frames.filter(({ kind }) => !RECOVERIES.has(kind));
    return Promise.all(needed.map((frame) => this.#frame(frame, stripe)));
  }

  async #frame(frame: IndexFrame, stripe: IndexStripe): Promise<StripeFrame> {
    const { kind, rawBytes } = frame;
    if (kind === FRAME_DISK) return this.#fromDisk(frame, stripe);
    if (!isStored(frame)) {
      if (!isExpendableKind(kind))
        throw new ParsError(
          'lost',
          `${describeFrame(frame, stripe)} was not stored, and the guest cannot do without it`,
        );
      return { kind, rawBytes, data: null, lost: this.#options.layout };
    }
    const data = this.#lost.has(frame) ? null : await this.#read(frame, stripe);
    return { kind, rawBytes, data, lost: data === null ? 'in-place' : null };
  }

  async #fromDisk(frame: IndexFrame, stripe: IndexStripe): Promise<StripeFrame> {
    const { data, lostPages } = await this.#disks.read(frame, stripe);
    if (lostPages > 0) this.#lost.add(frame);
    this.#lostOnDisk.set(frame, lostPages);
    return { kind: frame.kind, rawBytes: data.length, data, lost: null };
  }

  /** The bytes of a frame; null for an expendable one whose every copy is gone. */
  async #read(frame: IndexFrame, stripe: IndexStripe): Promise<Buffer | null> {
    try {
      return await this.#source.read(frame);
    } catch (error) {
      if (!isExpendableKind(frame.kind)) throw lossOf(error, describeFrame(frame, stripe));
      if (!isLoss(error)) throw error;
      this.#lost.add(frame);
      return null;
    }
  }

  /**
   * What must be told to the guest when some of the stripe's clean cache is lost, in the store or on its
   * disks.
   */
  async #recoverLost(i: number): Promise<void> {
    for (const frame of this.#stripes[i]!.frames) {
      if (PAGE_CLASSES[frame.kind] === 'clean-cache' && this.#isLost(frame))
        await this.#recover(i, FRAME_RECOVERY);
      if (frame.kind === FRAME_DISK && this.#isLost(frame)) await this.#recover(i, FRAME_DISK_RECOVERY);
    }
  }

  /** Reads a recovery of a stripe, once; stripes already rebuilt that it changes are rebuilt again. */
  async #recover(i: number, kind: number): Promise<void> {
    const stripe = this.#stripes[i]!;
    const frame = stripe.frames.find((candidate) => candidate.kind === kind);
    if (!frame)
      throw new ParsError(
        'corrupt',
        `stripe ${i} of ${this.#source.manifest.snapshot} has lost pages and no recovery for them`,
      );
    if (this.#recovered.has(frame)) return;
    const data = await this.#source.read(frame).catch((error: unknown) => {
      throw lossOf(error, `the recovery of ${describeFrame(frame, stripe)}`);
    });
    const raw = await decoded(
      `the recovery of ${describeFrame(frame, stripe)}`,
      native().decompress(data, frame.rawBytes),
    );
    if (this.#recovered.has(frame)) return;
    this.#recovered.add(frame);
    for (const target of this.#writes.add(raw)) {
      if (this.#taken.has(target)) this.#again.add(target);
    }
  }

  #isLost(frame: IndexFrame): boolean {
    return !isStored(frame) || this.#lost.has(frame);
  }

  #pagesLostOf(frame: IndexFrame): number {
    return frame.kind === FRAME_DISK ? (this.#lostOnDisk.get(frame) ?? 0) : frame.pages;
  }

  #pagesLostByPolicy(): number {
    return pagesOf(
      this.#stripes.flatMap((stripe) =>
        stripe.frames.filter((frame) => frame.kind < FRAME_FILL && !isStored(frame)),
      ),
    );
  }

  #pagesRecovered(): number {
    const cached = this.#stripes.flatMap((stripe) =>
      stripe.frames.filter(({ kind }) => kind === FRAME_DISK || PAGE_CLASSES[kind] === 'clean-cache'),
    );
    return cached
      .filter((frame) => this.#isLost(frame))
      .reduce((sum, frame) => sum + this.#pagesLostOf(frame), 0);
  }

  /** Runs `work` over `numbers`, a few at a time; the first failure stops the rest. */
  async #forEach(numbers: readonly number[], work: (i: number) => Promise<void>): Promise<void> {
    const queue = numbers[Symbol.iterator]();
    let failed = false;
    const worker = async (): Promise<void> => {
      for (const i of queue) {
        if (failed) return;
        this.#options.signal?.throwIfAborted();
        await work(i);
      }
    };
    const guarded = (): Promise<void> =>
      worker().catch((error: unknown) => {
        failed = true;
        this.#sink.abandon?.(error);
        throw error;
      });
    const results = await Promise.allSettled(Array.from({ length: IN_FLIGHT }, guarded));
    const failure = results.find((result) => result.status === 'rejected');
    if (failure) throw failure.reason;
  }

  #report(bytes: number): void {
    this.#done += bytes;
    const total = outputBytes(this.#stripes.slice(this.#options.firstStripe), this.#options.layout);
    this.#options.onProgress?.({
      phase: 'restoring',
      done: Math.min(this.#done, total),
      total,
      unit: 'bytes',
    });
  }
}

function pagesOf(frames: readonly IndexFrame[]): number {
  return frames.reduce((sum, frame) => sum + frame.pages, 0);
}

function stripeOutput(stripe: IndexStripe, layout: Layout): number {
  if (layout === 'in-place') return stripe.imageBytes;
  return (
    stripe.imageBytes
    - PACKED_SAVES * pagesOf(stripe.frames.filter((frame) => frame.kind < FRAME_FILL && !isStored(frame)))
  );
}

function offsetsOf(stripes: readonly IndexStripe[], layout: Layout): number[] {
  let offset = 0;
  return stripes.map((stripe) => {
    const at = offset;
    offset += stripeOutput(stripe, layout);
    return at;
  });
}
