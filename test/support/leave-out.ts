// SPDX-License-Identifier: Apache-2.0
/**
 * Restored images without their recovery, or without a part of it: the proof that a guest's self-check can
 * tell.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { ramRecords } from './elf-core.js';

const PAGE = 4096;
const STRUCT_PAGE = 64;
const ZEROS = Buffer.alloc(PAGE);

/**
 * `private-state`: folios forget that they are up to date, while what their file systems keep of them still
 * says so.
 */
export type LeftOut = 'everything' | 'private-state';

/**
 * Puts the original's bytes back into pages that recovery has changed; those that were lost stay zeros.
 * `restored` must hold every byte at its offset (`pars restore --to`). Returns how many pages were put back.
 */
export function leaveOut(what: LeftOut, original: string, restored: string): number {
  const [from, into] = [openSync(original, 'r'), openSync(restored, 'r+')];
  const [before, after] = [Buffer.alloc(PAGE), Buffer.alloc(PAGE)];
  let pages = 0;
  try {
    for (const record of ramRecords(from)) {
      if ('size' in record) continue;
      readSync(from, before, 0, PAGE, record.offset);
      readSync(into, after, 0, PAGE, record.offset);
      if (after.equals(before) || after.equals(ZEROS)) continue;
      if (what === 'private-state' && isStructPages(before, after)) continue;
      writeSync(into, before, 0, PAGE, record.offset);
      pages++;
    }
  } finally {
    closeSync(from);
    closeSync(into);
  }
  return pages;
}

/** All that has changed is PG_uptodate (bit 2, since 6.9 bit 3) in the flags of struct pages. */
function isStructPages(before: Buffer, after: Buffer): boolean {
  for (let i = 0; i < PAGE; i++) {
    const changed = before[i]! ^ after[i]!;
    if (changed !== 0 && (i % STRUCT_PAGE !== 0 || (changed !== 1 << 2 && changed !== 1 << 3))) return false;
  }
  return true;
}
