// SPDX-License-Identifier: Apache-2.0
/**
 * Puts a sparse image together: what is zero stays a hole, and when pages were lost no bit is left of a page
 * that is zero, so that QEMU reads nothing for it. Where it goes must read as zeros to begin with.
 */
import { PAGE_BYTES } from '../page-classes.js';
import type { MappedBlock } from '../reader/inspection.js';
import { bitmapBytes } from '../reader/mapped-blocks.js';
import { assemble, type AssembleOptions, type Losses, type Sink } from './assemble.js';
import type { SnapshotSource } from './snapshot-source.js';

const ZEROS = Buffer.alloc(PAGE_BYTES);

/** Rebuilds a sparse image with these blocks into `sink`. */
export async function assembleMapped(
  source: SnapshotSource,
  blocks: readonly MappedBlock[],
  sink: Sink,
  options: Omit<AssembleOptions, 'layout'>,
): Promise<Losses> {
  const mapped = new MappedSink(sink, blocks, source.manifest.image.bytes);
  const losses = await assemble(source, mapped, { ...options, layout: 'in-place' });
  await mapped.finish(losses.byPolicy + losses.unexpected > 0);
  return losses;
}

interface Bitmap {
  block: MappedBlock;
  bits: Buffer;
}

export class MappedSink implements Sink {
  readonly #sink: Sink;
  readonly #bitmaps: Bitmap[];
  /** A bit for every 4096 bytes of the image: they are not zero. */
  readonly #filled: Buffer;

  constructor(sink: Sink, blocks: readonly MappedBlock[], imageBytes: number) {
    this.#sink = sink;
    this.#bitmaps = blocks.map((block) => ({ block, bits: Buffer.alloc(bitmapBytes(block)) }));
    this.#filled = Buffer.alloc(Math.ceil(imageBytes / PAGE_BYTES / 8) + 1);
  }

  /** Bitmaps are kept back until the last page is known. */
  async write(data: Buffer, offset: number): Promise<void> {
    let from = 0;
    for (const { block, bits } of this.#bitmaps) {
      const begin = Math.max(0, block.bitmapOffset - offset),
        end = Math.min(data.length, block.bitmapOffset + bits.length - offset);
      if (begin >= end) continue;
      data.copy(bits, begin + offset - block.bitmapOffset, begin, end);
      await this.#writeFilled(data.subarray(from, begin), offset + from);
      from = end;
    }
    await this.#writeFilled(data.subarray(from), offset + from);
  }

  /** Writes the bitmaps, when all else was written. `clear`: without bits of pages that are zero. */
  async finish(clear: boolean): Promise<void> {
    for (const { block, bits } of this.#bitmaps) {
      if (clear) this.#clearZeros(block, bits);
      await this.#sink.write(bits, block.bitmapOffset);
    }
  }

  async #writeFilled(data: Buffer, offset: number): Promise<void> {
    for (const [from, to] of this.#filledRuns(data, offset))
      await this.#sink.write(data.subarray(from, to), offset + from);
  }

  /** Stretches that must be written: not zero, or not zero before. */
  #filledRuns(data: Buffer, offset: number): [from: number, to: number][] {
    const runs: [number, number][] = [];
    let last: [number, number] | undefined;
    for (let from = 0, to: number; from < data.length; from = to) {
      to = Math.min(data.length, from + PAGE_BYTES - ((offset + from) % PAGE_BYTES));
      if (!this.#mustWrite(data, from, to, offset)) continue;
      if (last?.[1] === from) last[1] = to;
      else runs.push((last = [from, to]));
    }
    return runs;
  }

  /**
   * Of part of a page, as at the edges of bitmaps, it is not known what else is in it: it is written, and its
   * page counts as filled.
   */
  #mustWrite(data: Buffer, from: number, to: number, offset: number): boolean {
    const page = Math.floor((offset + from) / PAGE_BYTES);
    const before = this.#isFilled(page),
      isZero = to - from === PAGE_BYTES && data.compare(ZEROS, 0, PAGE_BYTES, from, to) === 0;
    this.#setFilled(page, !isZero);
    return before || !isZero;
  }

  #isFilled(page: number): boolean {
    return (this.#filled[page >> 3]! & (1 << (page & 7))) !== 0;
  }

  #setFilled(page: number, filled: boolean): void {
    const bit = 1 << (page & 7);
    if (filled) this.#filled[page >> 3]! |= bit;
    else this.#filled[page >> 3]! &= ~bit;
  }

  #clearZeros({ pagesOffset, bytes }: MappedBlock, bits: Buffer): void {
    const first = pagesOffset / PAGE_BYTES;
    for (let page = 0; page < bytes / PAGE_BYTES; page++) {
      if (!this.#isFilled(first + page)) bits[page >> 3]! &= ~(1 << (page & 7));
    }
  }
}
