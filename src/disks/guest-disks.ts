// SPDX-License-Identifier: Apache-2.0
/** The disks of a saved guest, opened for reading: what they hold of its page cache is not stored again. */
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { codeOf } from '../system/absence.js';
import { openDisk } from './disk-bytes.js';
import { isOptical } from './named-disk.js';
import type { RecordedDisk } from './record.js';

/** pars-reader takes no more of them. */
const MAX_DISKS = 64;
/** A reference has 16 bits for the number of its disk. */
const MAX_NUMBER = 0xffff;

interface OpenDisk {
  number: number;
  file: FileHandle;
}

export class GuestDisks {
  readonly #disks: readonly OpenDisk[];

  private constructor(disks: readonly OpenDisk[]) {
    this.#disks = disks;
  }

  /**
   * Those whose bytes are the guest's own: raw files and block devices that it can write. What was written to
   * them is on stable storage afterwards; one that cannot be flushed is left out. Reads go past the page
   * cache where the file system can.
   */
  static async toCompare(disks: readonly RecordedDisk[]): Promise<GuestDisks> {
    return GuestDisks.#comparable(disks, isFlushed);
  }

  static async #comparable(
    disks: readonly RecordedDisk[],
    isReady: (file: FileHandle) => Promise<boolean>,
  ): Promise<GuestDisks> {
    const candidates = disks.flatMap((disk, number) => (isComparable(disk) ? [{ disk, number }] : []));
    const opened: OpenDisk[] = [];
    for (const { disk, number } of candidates.slice(0, MAX_DISKS)) {
      const file = (await openToUse(disk.source, constants.O_DIRECT)) ?? (await openToUse(disk.source, 0));
      if (file === null) continue;
      if (number <= MAX_NUMBER && (await isReady(file))) opened.push({ number, file });
      else await file.close();
    }
    return new GuestDisks(opened);
  }

  /** The same for a look that stores nothing, and so flushes nothing. */
  static async toLookAt(disks: readonly RecordedDisk[]): Promise<GuestDisks> {
    return GuestDisks.#comparable(disks, () => Promise.resolve(true));
  }

  /** To bring back what is on them. Those that are not there are left out. */
  static async toRead(disks: readonly RecordedDisk[]): Promise<GuestDisks> {
    const opened: OpenDisk[] = [];
    for (const [number, { source }] of disks.entries()) {
      const file = source.startsWith('/') ? await openToUse(source, 0) : null;
      if (file !== null) opened.push({ number, file });
    }
    return new GuestDisks(opened);
  }

  /** By the numbers of the disks; -1 for one that is not open. */
  descriptors(): number[] {
    const descriptors: number[] = [];
    for (const { number, file } of this.#disks) {
      while (descriptors.length < number) descriptors.push(-1);
      descriptors[number] = file.fd;
    }
    return descriptors;
  }

  list(): { number: number; fd: number }[] {
    return this.#disks.map(({ number, file }) => ({ number, fd: file.fd }));
  }

  async close(): Promise<void> {
    await Promise.all(this.#disks.map(({ file }) => file.close()));
  }
}

/**
 * Whether the guest's pages may stay on it alone: its bytes are the disk's, and a start can tell whether it
 * changed.
 */
export function isComparable({
  source,
  format,
  device,
  readOnly,
  identity,
  uncompared,
}: RecordedDisk): boolean {
  const isOwn = !readOnly && !isOptical({ device: device ?? 'disk' });
  const isKnown = identity !== null && uncompared === undefined && source.startsWith('/');
  return format === 'raw' && isOwn && isKnown;
}

/** Null for what is neither a file nor a block device, or cannot be opened. */
function openToUse(path: string, flags: number): Promise<FileHandle | null> {
  return openDisk(path, flags).catch(notUsed);
}

async function isFlushed(file: FileHandle): Promise<boolean> {
  return (await file.sync().then(() => 'flushed' as const, notUsed)) === 'flushed';
}

/** A disk that the system will not show, open or flush is not referred to: its pages are stored. */
function notUsed(error: unknown): null {
  if (codeOf(error) === undefined) throw error;
  return null;
}
