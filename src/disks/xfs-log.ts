// SPDX-License-Identifier: Apache-2.0
/**
 * Where an XFS file system's log ends. Its super block is written rarely, but every change of a file passes
 * through the log, whose sectors each begin with the number of the round in which they were written (Linux
 * fs/xfs/xfs_log_recover.c, xlog_find_cycle_start): where that number falls is the log's head.
 */
import { createHash } from 'node:crypto';
import type { DiskBytes } from './disk-bytes.js';

const SECTOR = 512;
const RECORD_MAGIC = 0xfeedbabe;
/** Of what was written last. */
const TAIL_BYTES = 16 << 10;

/** Whether the volume begins like XFS. */
export function isXfs(head: Buffer): boolean {
  return head.length >= 264 && head.toString('latin1', 0, 4) === 'XFSB';
}

/**
 * SHA-256 of the log's head and of what stands before it; null when the log is on another disk or not where
 * it should be.
 */
export async function logHead(volume: DiskBytes, head: Buffer): Promise<string | null> {
  const place = logPlace(head);
  if (place === null || place.start + place.bytes > volume.bytes) return null;
  const sectors = Math.floor(place.bytes / SECTOR);
  const cycleAt = async (n: number): Promise<number> =>
    cycleOf(await volume.read(place.start + n * SECTOR, SECTOR));
  const first = await cycleAt(0);
  let low = 0,
    high = sectors;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if ((await cycleAt(middle)) === first) low = middle;
    else high = middle;
  }
  const hash = createHash('sha256').update(`${first} ${high} of ${sectors}`);
  hash.update(await volume.read(place.start, SECTOR));
  const before = Math.max(0, high * SECTOR - TAIL_BYTES);
  hash.update(await volume.read(place.start + before, high * SECTOR - before));
  return hash.digest('hex');
}

function cycleOf(sector: Buffer): number {
  if (sector.length < 8) return 0;
  const word = sector.readUInt32BE(0);
  return word === RECORD_MAGIC ? sector.readUInt32BE(4) : word;
}

/** From sb_logstart, a block number whose high bits are its allocation group's. */
function logPlace(sb: Buffer): { start: number; bytes: number } | null {
  const block = sb.readUInt32BE(4),
    logStart = sb.readBigUInt64BE(48),
    logBlocks = sb.readUInt32BE(96);
  const groupBlocks = sb.readUInt32BE(84),
    groupLog = BigInt(sb.readUInt8(124));
  if (logStart === 0n || block < 512 || block > 65_536 || logBlocks === 0) return null;
  const group = Number(logStart >> groupLog),
    within = Number(logStart & ((1n << groupLog) - 1n));
  return { start: (group * groupBlocks + within) * block, bytes: logBlocks * block };
}
