// SPDX-License-Identifier: Apache-2.0
/**
 * Where an ext4 file system's journal ends. Its super block is written at mount and unmount, but every change
 * of a file passes through the journal (jbd2), so the number of the last transaction and its commit block
 * tell one state from the next. The journal is found by its copy of the journal inode in the super block.
 * (Linux Documentation/filesystems/ext4/journal.rst)
 */
import { createHash } from 'node:crypto';
import { type DiskBytes, type Extent, mapped, windowed } from './disk-bytes.js';

const SUPER_AT = 1024;
const SUPER_BYTES = 1024;
const SUPER_MAGIC = 0xef53;
const EXTENT_MAGIC = 0xf30a;
const JOURNAL_MAGIC = 0xc03b3998;
const DESCRIPTOR = 1,
  COMMIT = 2,
  REVOKE = 5;
const BIT64 = 0x2,
  CSUM_V2 = 0x8,
  CSUM_V3 = 0x10,
  FAST_COMMIT = 0x20;
const SAME_UUID = 2,
  LAST_TAG = 8;
const DEFAULT_FAST_BLOCKS = 256;
const MAX_EXTENTS = 4096;
/**
 * Blocks with a header that are followed: a journal of 1 GiB that is full of the smallest transactions has
 * more.
 */
const MAX_HEADERS = 32_768;
const MAX_FAST_BLOCKS = 4096;

export interface JournalEnd {
  /** Hash of the journal's super block, of its end, and of the last commit. */
  sha256: string;
}

/** Whether the volume begins like ext2, 3 or 4. */
export function isExt(head: Buffer): boolean {
  return head.length >= SUPER_AT + SUPER_BYTES && head.readUInt16LE(SUPER_AT + 0x38) === SUPER_MAGIC;
}

/** Null when it has no journal, or none that can be found. `head`: the first 64 KiB of `volume`. */
export async function journalEnd(volume: DiskBytes, head: Buffer): Promise<JournalEnd | null> {
  const sb = head.subarray(SUPER_AT, SUPER_AT + SUPER_BYTES);
  const logBlock = sb.readUInt32LE(0x18);
  if (sb.readUInt8(0xfd) !== 1 || logBlock > 6) return null;
  const extents = await journalExtents(volume, sb.subarray(0x10c, 0x10c + 60), 1024 << logBlock);
  if (extents.length === 0) return null;
  return followLog(windowed(mapped(volume, extents)));
}

/** From i_block of the journal's inode: an extent tree of at most two levels. */
async function journalExtents(volume: DiskBytes, root: Buffer, block: number): Promise<Extent[]> {
  if (root.readUInt16LE(0) !== EXTENT_MAGIC) return [];
  if (root.readUInt16LE(6) === 0) return leafExtents(root, block);
  if (root.readUInt16LE(6) !== 1) return [];
  const extents: Extent[] = [];
  for (let n = 0; n < Math.min(root.readUInt16LE(2), 4); n++) {
    const at = 12 + n * 12;
    const leaf = await volume.read(
      (root.readUInt32LE(at + 4) + root.readUInt16LE(at + 8) * 2 ** 32) * block,
      block,
    );
    if (leaf.length === block && leaf.readUInt16LE(0) === EXTENT_MAGIC)
      extents.push(...leafExtents(leaf, block));
  }
  return extents;
}

function leafExtents(node: Buffer, block: number): Extent[] {
  const count = Math.min(node.readUInt16LE(2), Math.floor((node.length - 12) / 12), MAX_EXTENTS);
  return Array.from({ length: count }, (_, n) => 12 + n * 12).map((at) => ({
    logical: node.readUInt32LE(at) * block,
    bytes: node.readUInt16LE(at + 4) * block,
    physical: (node.readUInt32LE(at + 8) + node.readUInt16LE(at + 6) * 2 ** 32) * block,
  }));
}

interface Log {
  block: number;
  first: number;
  /** Past the last block of the log. */
  end: number;
  features: number;
  fastBlocks: number;
}

async function followLog(journal: DiskBytes): Promise<JournalEnd | null> {
  const sb = await journal.read(0, 1024);
  if (sb.length < 1024 || sb.readUInt32BE(0) !== JOURNAL_MAGIC) return null;
  const log = logOf(sb);
  if (log === null) return null;
  const hash = createHash('sha256').update(sb);
  let at = sb.readUInt32BE(0x1c),
    sequence = sb.readUInt32BE(0x18);
  for (let n = 0; at !== 0 && n < MAX_HEADERS; n++) {
    const header = await journal.read(at * log.block, log.block);
    if (header.length < log.block || header.readUInt32BE(0) !== JOURNAL_MAGIC) break;
    const type = header.readUInt32BE(4);
    if (header.readUInt32BE(8) !== sequence || ![DESCRIPTOR, COMMIT, REVOKE].includes(type)) break;
    if (type === COMMIT) hash.update(header.subarray(0, 64));
    if (type === COMMIT) sequence = (sequence + 1) >>> 0;
    at = after(at, type === DESCRIPTOR ? 1 + tagsIn(header, log.features) : 1, log);
  }
  for (let n = 0; n < Math.min(log.fastBlocks, MAX_FAST_BLOCKS); n++)
    hash.update(await journal.read((log.end + n) * log.block, log.block));
  return { sha256: hash.update(`${at} ${sequence}`).digest('hex') };
}

function logOf(sb: Buffer): Log | null {
  const block = sb.readUInt32BE(0x0c),
    length = sb.readUInt32BE(0x10),
    first = sb.readUInt32BE(0x14);
  const features = sb.readUInt32BE(0x28);
  const fastBlocks = features & FAST_COMMIT ? sb.readUInt32BE(0x54) || DEFAULT_FAST_BLOCKS : 0;
  const isLog =
    block >= 1024 && block <= 65_536 && first > 0 && fastBlocks < length && first < length - fastBlocks;
  return isLog ? { block, first, end: length - fastBlocks, features, fastBlocks } : null;
}

/** The log goes round. */
function after(at: number, blocks: number, { first, end }: Log): number {
  const next = at + blocks;
  return next < end ? next : first + ((next - end) % (end - first));
}

/** How many blocks of data follow a descriptor. */
function tagsIn(header: Buffer, features: number): number {
  const v3 = (features & CSUM_V3) !== 0;
  const bytes = v3 ? 16 : 8 + (features & BIT64 ? 4 : 0) + (features & CSUM_V2 ? 2 : 0);
  let count = 0;
  for (let at = 12; at + bytes <= header.length;) {
    const flags = v3 ? header.readUInt32BE(at + 4) : header.readUInt16BE(at + 6);
    count++;
    if (flags & LAST_TAG) break;
    at += bytes + (flags & SAME_UUID ? 0 : 16);
  }
  return count;
}
