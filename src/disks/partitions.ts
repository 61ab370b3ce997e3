// SPDX-License-Identifier: Apache-2.0
/**
 * Where the partitions of a disk begin: GPT (UEFI specification, chapter 5) and MBR with its chain of logical
 * ones.
 */
import type { DiskBytes } from './disk-bytes.js';

export interface Partition {
  /** Bytes from the start of the disk. */
  start: number;
  bytes: number;
}

const SECTOR = 512;
/** Of disks whose sectors are larger. */
const SECTORS = [512, 4096] as const;
const MAX_ENTRIES = 1024;
const MAX_LOGICAL = 128;
const EXTENDED = new Set([0x05, 0x0f, 0x85]);
const PROTECTIVE = 0xee;

/** In the order of the table; none when there is no table, or one that leads outside the disk. */
export async function partitionsOf(disk: DiskBytes): Promise<Partition[]> {
  const mbr = await disk.read(0, SECTOR);
  if (mbr.length < SECTOR || mbr.readUInt16LE(510) !== 0xaa55) return [];
  const entries = entriesOf(mbr);
  if (entries.some(({ type }) => type === PROTECTIVE)) return gptPartitions(disk);
  const found: Partition[] = [];
  for (const { type, start, bytes } of entries) {
    if (EXTENDED.has(type)) found.push(...(await logicalPartitions(disk, start)));
    else found.push({ start, bytes });
  }
  return found.filter((one) => isWithin(one, disk));
}

interface Entry extends Partition {
  type: number;
}

function entriesOf(sector: Buffer): Entry[] {
  const entries = [0, 1, 2, 3]
    .map((n) => 446 + n * 16)
    .map((at) => ({
      type: sector.readUInt8(at + 4),
      start: sector.readUInt32LE(at + 8) * SECTOR,
      bytes: sector.readUInt32LE(at + 12) * SECTOR,
    }));
  return entries.filter(({ type, bytes }) => type !== 0 && bytes > 0);
}

/** Each extended boot record names one logical partition, and the next record. */
async function logicalPartitions(disk: DiskBytes, extended: number): Promise<Partition[]> {
  const found: Partition[] = [];
  for (let at = extended, n = 0; n < MAX_LOGICAL; n++) {
    const record = await disk.read(at, SECTOR);
    if (record.length < SECTOR || record.readUInt16LE(510) !== 0xaa55) break;
    const entries = entriesOf(record);
    const logical = entries.find(({ type }) => !EXTENDED.has(type));
    if (logical) found.push({ start: at + logical.start, bytes: logical.bytes });
    const next = entries.find(({ type }) => EXTENDED.has(type));
    if (!next || next.start === 0) break;
    at = extended + next.start;
  }
  return found;
}

async function gptPartitions(disk: DiskBytes): Promise<Partition[]> {
  for (const sector of SECTORS) {
    const header = await disk.read(sector, 92);
    if (header.length < 92 || header.toString('latin1', 0, 8) !== 'EFI PART') continue;
    const table = Number(header.readBigUInt64LE(72)) * sector;
    const count = Math.min(header.readUInt32LE(80), MAX_ENTRIES),
      size = header.readUInt32LE(84);
    if (size < 128 || size > 4096) return [];
    const entries = await disk.read(table, count * size);
    const found = Array.from({ length: Math.floor(entries.length / size) }, (_, n) =>
      gptEntry(entries, n * size, sector),
    );
    return found.filter((one): one is Partition => one !== null && isWithin(one, disk));
  }
  return [];
}

function gptEntry(entries: Buffer, at: number, sector: number): Partition | null {
  if (entries.subarray(at, at + 16).every((byte) => byte === 0)) return null;
  const first = Number(entries.readBigUInt64LE(at + 32)),
    last = Number(entries.readBigUInt64LE(at + 40));
  return { start: first * sector, bytes: (last - first + 1) * sector };
}

function isWithin({ start, bytes }: Partition, disk: DiskBytes): boolean {
  return Number.isSafeInteger(start) && start > 0 && bytes > 0 && start < disk.bytes;
}
