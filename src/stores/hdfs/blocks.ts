// SPDX-License-Identifier: Apache-2.0
/** Where the blocks of a file lie, as the NameNode sees it: copies in effect, and how they are spread. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { BlockLocation } from '../../webhdfs/index.js';
import { parseCoding, piecesOf } from '../coding.js';
import type { HdfsFiles } from './files.js';

/**
 * Blocks are closed before every DataNode has told the NameNode of its copy, and a pipeline that lost one
 * goes on with fewer.
 */
export const COPIES_WAIT_MS = 60_000;
const POLL_MS = { first: 50, most: 2000 };

/** Of all of a file, or of a range of it. */
export function blocksOf(
  files: HdfsFiles,
  path: string,
  range: { offset?: number; length?: number } = {},
): Promise<BlockLocation[]> {
  return files.call(`asking where ${path} lies`, (client, call) =>
    client.blockLocations(path, { ...range, ...call }),
  );
}

/**
 * Pieces of a block that the NameNode knows to be good and alive, how many there should be, and how many are
 * enough to read it.
 */
export interface Stand {
  have: number;
  all: number;
  needed: number;
}

/** A piece is a whole copy, or a part of a coded block. */
export function standOf(block: BlockLocation, copies: number, coding: string | undefined): Stand {
  const have = block.corrupt ? 0 : block.names.length;
  return coding === undefined
    ? { have, all: copies, needed: 1 }
    : { have, ...piecesOf(parseCoding(coding), block.length) };
}

/** Waits until every block is there whole; gives back what there is when the time is over. */
export async function awaitPieces(
  files: HdfsFiles,
  path: string,
  copies: number,
  coding: string | undefined,
  waitMs = COPIES_WAIT_MS,
): Promise<BlockLocation[]> {
  const deadline = performance.now() + waitMs;
  for (let pause = POLL_MS.first; ; pause = Math.min(2 * pause, POLL_MS.most)) {
    const blocks = await blocksOf(files, path);
    const done = blocks.every(
      (block) => standOf(block, copies, coding).have >= standOf(block, copies, coding).all,
    );
    if (done || blocks.some(({ corrupt }) => corrupt) || performance.now() + pause > deadline) return blocks;
    await sleep(pause, undefined, files.signal ? { signal: files.signal } : {});
  }
}

export function placeOfBlock(path: string, { offset, hosts }: BlockLocation): string {
  return `block at ${offset} of ${path}${hosts.length > 0 ? ` (${hosts.join(', ')})` : ''}`;
}
