// SPDX-License-Identifier: Apache-2.0
/**
 * Recovery writes: the single bytes that must change in the guest's memory when expendable pages are lost
 * (docs/format.md, "Frames"), sorted by the stripe they fall into.
 */
import { ParsError } from '../errors.js';
import type { IndexStripe } from './index-table.js';

const VERSION = 1;
const HEADER_BYTES = 8;
const WRITE_BYTES = 10;

export class RecoveryWrites {
  readonly #stripes: readonly IndexStripe[];
  readonly #buckets = new Map<number, Buffer[]>();

  constructor(stripes: readonly IndexStripe[]) {
    this.#stripes = stripes;
  }

  /**
   * Sorts the writes of a decompressed recovery frame into their stripes; returns the numbers of those
   * stripes.
   */
  add(frame: Buffer): Set<number> {
    const targets = new Set<number>();
    const count = checkedCount(frame);
    let run = { stripe: -1, from: 0 };
    for (let i = 0; i < count; i++) {
      const at = HEADER_BYTES + i * WRITE_BYTES;
      const offset = Number(frame.readBigUInt64LE(at));
      if (run.stripe >= 0 && this.#contains(run.stripe, offset)) continue;
      this.#put(run.stripe, frame.subarray(run.from, at));
      run = { stripe: this.#stripeAt(offset), from: at };
      targets.add(run.stripe);
    }
    this.#put(run.stripe, frame.subarray(run.from));
    return targets;
  }

  /** All writes known so far that fall into a stripe. */
  of(stripe: number): Buffer {
    return Buffer.concat(this.#buckets.get(stripe) ?? []);
  }

  #put(stripe: number, writes: Buffer): void {
    if (stripe < 0 || writes.length === 0) return;
    const bucket = this.#buckets.get(stripe);
    if (bucket) bucket.push(writes);
    else this.#buckets.set(stripe, [writes]);
  }

  #contains(stripe: number, offset: number): boolean {
    const { imageOffset, imageBytes } = this.#stripes[stripe]!;
    return offset >= imageOffset && offset < imageOffset + imageBytes;
  }

  /** Binary search. The head (stripe 0) is never written to. */
  #stripeAt(offset: number): number {
    let low = 1;
    let high = this.#stripes.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (this.#contains(middle, offset)) return middle;
      if (offset < this.#stripes[middle]!.imageOffset) high = middle - 1;
      else low = middle + 1;
    }
    throw damaged(`it writes to ${offset}, outside the pages of the image`);
  }
}

function checkedCount(frame: Buffer): number {
  if (frame.length < HEADER_BYTES || frame.readUInt32LE(0) !== VERSION)
    throw damaged('it has a version this program does not read');
  const count = frame.readUInt32LE(4);
  if (frame.length !== HEADER_BYTES + count * WRITE_BYTES)
    throw damaged(`${frame.length} bytes cannot hold ${count} writes`);
  return count;
}

function damaged(why: string): ParsError {
  return new ParsError('corrupt', `a recovery frame is damaged: ${why}`);
}
