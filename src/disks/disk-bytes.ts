// SPDX-License-Identifier: Apache-2.0
/** The bytes of a disk, wherever they come from: a device of this host, a file, or an NBD server. */
import { constants } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { ParsError } from '../errors.js';

/**
 * A regular file or block device, opened for reading; null when that path is neither. Nothing else is even
 * opened: a FIFO would hold us, and some devices act as soon as they are opened. Throws when there is
 * nothing, or it cannot be opened.
 */
export async function openDisk(path: string, flags = 0): Promise<FileHandle | null> {
  if (!isDisk(await stat(path))) return null;
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | flags);
  if (isDisk(await file.stat())) return file;
  await file.close();
  return null;
}

function isDisk(stats: { isFile(): boolean; isBlockDevice(): boolean }): boolean {
  return stats.isFile() || stats.isBlockDevice();
}

export interface DiskBytes {
  /** Length of the disk. */
  readonly bytes: number;
  /**
   * Reads `length` bytes at `offset`; fewer where the disk ends, none past its end. Throws when it cannot.
   */
  read(offset: number, length: number): Promise<Buffer>;
  /** Safe twice. */
  close(): Promise<void>;
}

/**
 * A regular file or block device, opened read-only. `bytes`: its length, which stat does not tell of a
 * device.
 */
export async function openFile(path: string, bytes: number): Promise<DiskBytes> {
  const file = await openDisk(path);
  if (file === null) throw new ParsError('refused', `${path} is neither a file nor a block device`);
  let closed = false;
  return {
    bytes,
    async read(offset, length) {
      const into = Buffer.alloc(clip(offset, length, bytes));
      let done = 0;
      while (done < into.length) {
        const { bytesRead } = await file.read(into, done, into.length - done, offset + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return into.subarray(0, done);
    },
    async close() {
      if (closed) return;
      closed = true;
      await file.close();
    },
  };
}

/** How many of `length` bytes at `offset` lie within a disk of `bytes`. */
export function clip(offset: number, length: number, bytes: number): number {
  return Math.max(0, Math.min(length, bytes - offset));
}

const WINDOW = 256 << 10;

/**
 * The same bytes, read a window at a time: who follows a log block by block asks for a few bytes after a few.
 */
export function windowed(disk: DiskBytes): DiskBytes {
  let at = -1;
  let held: Buffer = Buffer.alloc(0);
  return {
    bytes: disk.bytes,
    async read(offset, length) {
      if (length > WINDOW / 2) return disk.read(offset, length);
      if (at < 0 || offset < at || offset + length > at + held.length) {
        held = await disk.read(offset, WINDOW);
        at = offset;
      }
      return Buffer.from(held.subarray(offset - at, offset - at + length));
    },
    close: () => disk.close(),
  };
}

/** A run of a volume's bytes, and where on the disk they lie. */
export interface Extent {
  logical: number;
  physical: number;
  bytes: number;
}

/** A volume that lies on the disk in pieces; what lies on other disks reads as nothing. */
export function mapped(disk: DiskBytes, extents: readonly Extent[]): DiskBytes {
  return {
    bytes: extents.reduce((end, { logical, bytes }) => Math.max(end, logical + bytes), 0),
    async read(offset, length) {
      const parts: Buffer[] = [];
      for (let done = 0; done < length;) {
        const at = offset + done;
        const extent = extents.find(({ logical, bytes }) => at >= logical && at < logical + bytes);
        if (extent === undefined) break;
        const within = at - extent.logical;
        const part = await disk.read(
          extent.physical + within,
          Math.min(length - done, extent.bytes - within),
        );
        if (part.length === 0) break;
        parts.push(part);
        done += part.length;
      }
      return Buffer.concat(parts);
    },
    close: () => disk.close(),
  };
}

/** A part of a disk as a disk of its own. */
export function slice(disk: DiskBytes, start: number, bytes: number): DiskBytes {
  return mapped(disk, [{ logical: 0, physical: start, bytes: clip(start, bytes, disk.bytes) }]);
}
