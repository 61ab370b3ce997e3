// SPDX-License-Identifier: Apache-2.0
/** The disks of a saved guest, opened for reading: what they hold of its page cache is not stored again. */
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { codeOf } from '../system/absence.js';
import { openDisk } from './disk-bytes.js';
import { isReason, type Reason } from './blockdev.js';
import { isOptical } from './named-disk.js';
import { mapOfQcow2 } from './qemu-map.js';
import type { RecordedDisk } from './record.js';

/** pars-reader takes no more of them. */
const MAX_FILES = 64;
/** A reference has 16 bits for the number of its disk. */
const MAX_NUMBER = 0xffff;

/** A disk that can be read: the descriptors of its files, and where in them its bytes lie. */
export interface ReadableDisk {
  /** In the domain's list of disks, and the manifest's. */
  number: number;
  fds: readonly number[];
  /** Null: its only file is the disk. Else as in docs/format.md, "The reader's protocol". */
  map: Buffer | null;
}

interface OpenDisk {
  number: number;
  files: readonly FileHandle[];
  map: Buffer | null;
}

/** How its files are opened, and what must be done to each before it counts. */
interface Opening {
  flags: number;
  isReady: (file: FileHandle) => Promise<boolean>;
  signal?: AbortSignal | undefined;
}

export class GuestDisks {
  readonly #disks: readonly OpenDisk[];
  readonly #reasons: ReadonlyMap<number, string>;

  private constructor(disks: readonly OpenDisk[], reasons: ReadonlyMap<number, string>) {
    this.#disks = disks;
    this.#reasons = reasons;
  }

  /**
   * Those whose bytes are the guest's own: raw files, block devices and qcow2 images that it can write. What
   * was written to them is on stable storage afterwards; one that cannot be flushed is left out. Reads go
   * past the page cache where the file system can.
   */
  static async toCompare(disks: readonly RecordedDisk[], signal?: AbortSignal): Promise<GuestDisks> {
    return GuestDisks.#comparable(disks, { flags: constants.O_DIRECT, isReady: isFlushed, signal });
  }

  /** The same for a look that stores nothing, and so flushes nothing. */
  static async toLookAt(disks: readonly RecordedDisk[], signal?: AbortSignal): Promise<GuestDisks> {
    const isReady = (): Promise<boolean> => Promise.resolve(true);
    return GuestDisks.#comparable(disks, { flags: constants.O_DIRECT, isReady, signal });
  }

  /** To bring back what is on them. Those that are not there are left out. */
  static async toRead(disks: readonly RecordedDisk[], signal?: AbortSignal): Promise<GuestDisks> {
    const local = numbered(disks).filter(({ disk }) => disk.source.startsWith('/'));
    return GuestDisks.#opened(local, { flags: 0, isReady: () => Promise.resolve(true), signal });
  }

  static async #comparable(disks: readonly RecordedDisk[], opening: Opening): Promise<GuestDisks> {
    const candidates = numbered(disks).filter(
      ({ disk, number }) => isComparable(disk) && number <= MAX_NUMBER,
    );
    return GuestDisks.#opened(candidates, opening, MAX_FILES);
  }

  static async #opened(
    disks: readonly Numbered[],
    opening: Opening,
    mostFiles = Infinity,
  ): Promise<GuestDisks> {
    const opened: OpenDisk[] = [];
    const reasons = new Map<number, string>();
    let filesLeft = mostFiles;
    try {
      for (const { disk, number } of disks) {
        if (filesLeft === 0) break;
        const one = await openOne(disk, opening, filesLeft);
        if (isReason(one)) reasons.set(number, one.reason);
        else {
          opened.push({ number, ...one });
          filesLeft -= one.files.length;
        }
      }
    } catch (error) {
      await Promise.all(opened.map(({ files }) => closeAll(files)));
      throw error;
    }
    return new GuestDisks(opened, reasons);
  }

  /** By the numbers of the disks; null for one that is not open. */
  byNumber(): (ReadableDisk | null)[] {
    const disks: (ReadableDisk | null)[] = [];
    for (const disk of this.list()) {
      while (disks.length < disk.number) disks.push(null);
      disks[disk.number] = disk;
    }
    return disks;
  }

  list(): ReadableDisk[] {
    return this.#disks.map(({ number, files, map }) => ({ number, fds: files.map(({ fd }) => fd), map }));
  }

  /** Why one cannot be read; null when nobody has tried. */
  reason(number: number): string | null {
    return this.#reasons.get(number) ?? null;
  }

  async close(): Promise<void> {
    await Promise.all(this.#disks.map(({ files }) => closeAll(files)));
  }
}

/**
 * Whether the guest's pages may stay on it alone: its bytes lie in files of this host, and a start can tell
 * whether it changed.
 */
export function isComparable({
  source,
  format,
  device,
  readOnly,
  identity,
  below = [],
  uncompared,
}: RecordedDisk): boolean {
  const isOwn = !readOnly && !isOptical({ device: device ?? 'disk' });
  const isKnown = identity !== null && below.every((file) => file.identity !== null);
  const isReadable = (format === 'raw' || format === 'qcow2') && source.startsWith('/');
  return isReadable && isOwn && isKnown && uncompared === undefined;
}

interface Numbered {
  disk: RecordedDisk;
  number: number;
}

function numbered(disks: readonly RecordedDisk[]): Numbered[] {
  return disks.map((disk, number) => ({ disk, number }));
}

async function openOne(
  { source, format }: RecordedDisk,
  opening: Opening,
  mostFiles: number,
): Promise<Omit<OpenDisk, 'number'> | Reason> {
  if (format !== 'qcow2') {
    const files = await openAll([source], opening);
    return isReason(files) ? files : { files, map: null };
  }
  const map = await mapOfQcow2(source, opening.signal);
  if (isReason(map)) return map;
  if (map.files.length > mostFiles) return { reason: 'the disks have too many files' };
  const files = await openAll(map.files, map.isAligned ? opening : { ...opening, flags: 0 });
  return isReason(files) ? files : { files, map: map.table };
}

async function openAll(
  paths: readonly string[],
  { flags, isReady }: Opening,
): Promise<FileHandle[] | Reason> {
  const files: FileHandle[] = [];
  for (const path of paths) {
    const file = (await openToUse(path, flags)) ?? (await openToUse(path, 0));
    if (file !== null) files.push(file);
    if (file !== null && (await isReady(file))) continue;
    await closeAll(files);
    return { reason: `${path} cannot be opened` };
  }
  return files;
}

async function closeAll(files: readonly FileHandle[]): Promise<void> {
  await Promise.all(files.map((file) => file.close()));
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
