// SPDX-License-Identifier: Apache-2.0
/**
 * The blocks of a sparse image, as a reader or a manifest tells them: nobody uses them before they were found
 * to lie within the image, one behind the other.
 */
import { PAGE_BYTES } from '../page-classes.js';
import type { MappedBlock } from './inspection.js';

/** Bytes of a block's bitmap: whole 64-bit words. */
export function bitmapBytes({ bytes }: MappedBlock): number {
  return Math.ceil(bytes / PAGE_BYTES / 64) * 8;
}

/** Why these cannot be the blocks of an image of `imageBytes`; null when they can. */
export function faultOfBlocks(blocks: readonly MappedBlock[], imageBytes: number): string | null {
  let end = 0;
  for (const [i, block] of blocks.entries()) {
    const { bitmapOffset, pagesOffset, bytes } = block;
    if (bytes === 0 || bytes % PAGE_BYTES !== 0 || pagesOffset % PAGE_BYTES !== 0)
      return `block ${i} is not of whole pages`;
    if (bitmapOffset < end || pagesOffset < bitmapOffset + bitmapBytes(block))
      return `block ${i} overlaps what stands before it`;
    end = pagesOffset + bytes;
  }
  return end > imageBytes ? 'the blocks reach past the end of the image' : null;
}
