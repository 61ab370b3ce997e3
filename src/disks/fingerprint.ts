// SPDX-License-Identifier: Apache-2.0
/**
 * What a disk without an inode is known by: hashes of the places that a write, a rollback or a mount changes.
 * Whatever lies between them is only sampled, so equal fingerprints are strong evidence and no proof; unequal
 * ones are proof.
 */
import { createHash } from 'node:crypto';
import type { DiskBytes } from './disk-bytes.js';
import { mapped, slice, windowed } from './disk-bytes.js';
import { isExt, journalEnd } from './ext4-journal.js';
import { physicalVolume } from './lvm.js';
import { partitionsOf } from './partitions.js';
import { isXfs, logHead } from './xfs-log.js';

/** One place, and the first half of the SHA-256 of what stood there. */
export interface Mark {
  /** In words: "first 64 KiB", "ext4 journal". */
  what: string;
  /** Bytes from the start of the disk to the volume it is of. */
  at: number;
  sha256: string;
}

export interface Fingerprint {
  bytes: number;
  marks: Mark[];
}

const HEAD_BYTES = 64 << 10;
/** Past the first that fits into the head: Linux fs/btrfs/disk-io.h, btrfs_sb_offset. */
const BTRFS_SUPERS = [64 << 10, 64 << 20, 256 * 2 ** 30];
const BTRFS_BYTES = 4096;
const BTRFS_MAGIC = '_BHRfS_M';
const MD_AT = 4096;
const MD_MAGIC = 0xa92b4efc;
const MAX_DEPTH = 4;
export const MAX_MARKS = 4096;
/** Spread evenly: what changes much of a disk that no table explains changes one of them. */
const SAMPLES = 128;
const SAMPLE_BYTES = 4096;

/** Reads a few MiB at the most, beside the journals' own lengths. Throws what reading throws. */
export async function fingerprintOf(disk: DiskBytes): Promise<Fingerprint> {
  const marks: Mark[] = [];
  await markVolume(disk, 0, marks, 0);
  for (const { start, bytes } of await partitionsOf(windowed(disk)))
    await markVolume(slice(disk, start, bytes), start, marks, 1);
  const tail = Math.max(0, disk.bytes - HEAD_BYTES);
  marks.push(
    { what: 'last 64 KiB', at: tail, sha256: digest(await disk.read(tail, HEAD_BYTES)) },
    await sampled(disk),
  );
  return { bytes: disk.bytes, marks: marks.slice(0, MAX_MARKS) };
}

/** In words, what differs; empty when nothing does. */
export function differences(before: Fingerprint, now: Fingerprint): string[] {
  if (before.bytes !== now.bytes) return [`was ${before.bytes} bytes long, and is ${now.bytes}`];
  const key = ({ what, at }: Mark): string => `${what} ${at}`;
  const present = new Map(now.marks.map((mark) => [key(mark), mark.sha256]));
  const changed = before.marks
    .filter((mark) => present.get(key(mark)) !== mark.sha256)
    .map(({ what, at }) => (at === 0 ? what : `${what} at ${at}`));
  if (changed.length > 0) return [`has other contents (its ${listed(changed)})`];
  return now.marks.length === before.marks.length
    ? []
    : ['has other contents (a file system or partition that was not there)'];
}

function listed(words: readonly string[]): string {
  return words.length <= 3
    ? words.join(', ')
    : `${words.slice(0, 3).join(', ')} and ${words.length - 3} more`;
}

/**
 * A whole disk, a partition, or what LVM or md puts together: its first bytes, and where a file system in it
 * notes its changes.
 */
async function markVolume(volume: DiskBytes, at: number, marks: Mark[], depth: number): Promise<void> {
  if (marks.length >= MAX_MARKS) return;
  const add = (what: string, sha256: string): void =>
    void marks.push({ what, at, sha256: sha256.slice(0, 32) });
  const head = await volume.read(0, HEAD_BYTES);
  add('first 64 KiB', digest(head));
  for (const offset of BTRFS_SUPERS) {
    const data = await volume.read(offset, BTRFS_BYTES);
    if (data.toString('latin1', 64, 72) === BTRFS_MAGIC) add(`btrfs super block at ${offset}`, digest(data));
  }
  if (isExt(head)) {
    const end = await journalEnd(volume, head);
    if (end !== null) add('ext4 journal', end.sha256);
  }
  if (isXfs(head)) {
    const end = await logHead(volume, head);
    if (end !== null) add('XFS log', end);
  }
  if (depth < MAX_DEPTH) await markNested(volume, head, at, marks, depth);
}

async function markNested(
  volume: DiskBytes,
  head: Buffer,
  at: number,
  marks: Mark[],
  depth: number,
): Promise<void> {
  const physical = await physicalVolume(volume, head);
  if (physical !== null) {
    marks.push({ what: 'LVM metadata', at, sha256: digest(physical.metadata) });
    for (const extents of physical.volumes)
      await markVolume(mapped(volume, extents), at + (extents[0]?.physical ?? 0), marks, depth + 1);
  }
  const mirror = mirrorOf(head);
  if (mirror !== null)
    await markVolume(slice(volume, mirror.start, mirror.bytes), at + mirror.start, marks, depth + 1);
}

/** md's RAID 1 with its super block at the front (version 1.2): each member holds all of it. */
function mirrorOf(head: Buffer): { start: number; bytes: number } | null {
  if (
    head.length < MD_AT + 256
    || head.readUInt32LE(MD_AT) !== MD_MAGIC
    || head.readInt32LE(MD_AT + 0x48) !== 1
  )
    return null;
  const start = Number(head.readBigUInt64LE(MD_AT + 0x80)) * 512,
    bytes = Number(head.readBigUInt64LE(MD_AT + 0x88)) * 512;
  return start > 0 && Number.isSafeInteger(start + bytes) ? { start, bytes } : null;
}

async function sampled(disk: DiskBytes): Promise<Mark> {
  const hash = createHash('sha256');
  const step = Math.max(SAMPLE_BYTES, Math.floor(disk.bytes / SAMPLES / SAMPLE_BYTES) * SAMPLE_BYTES);
  for (let n = 0; n < SAMPLES && n * step < disk.bytes; n++)
    hash.update(await disk.read(n * step, SAMPLE_BYTES));
  return { what: 'sample of blocks', at: 0, sha256: hash.digest('hex').slice(0, 32) };
}

function digest(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex').slice(0, 32);
}
