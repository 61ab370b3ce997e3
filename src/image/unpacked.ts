// SPDX-License-Identifier: Apache-2.0
/**
 * A compressed image as the raw one it stands for: the same header with the format 0, the same XML, and
 * QEMU's stream as it is. It lies in a file without a name beside the image, which goes away with its
 * descriptor, whatever becomes of us: memory of a guest is written nowhere else (R24).
 */
import { constants, readSync } from 'node:fs';
import { open, realpath, statfs, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ifThere } from '../system/absence.js';
import { ParsError } from '../errors.js';
import type { OnProgress } from '../progress.js';
import type { ImageFacts } from '../reader/inspection.js';
import { diskFull, HostDiskFull } from '../system/disk-space.js';
import { openNameless } from '../system/nameless-file.js';
import { Filter } from './filter.js';
import { commandFor, isCompressed } from './save-format.js';

export interface UnpackOptions {
  signal?: AbortSignal;
  onProgress?: OnProgress;
  /** More than this is not unpacked (default: by the guest's RAM). */
  mostBytes?: number;
}

/** Of the header's fields. */
const FORMAT_AT = 28;
/**
 * Live snapshots send pages more than once, but not without end: what unpacks to more than this is made to
 * fill disks.
 */
const MOST_TIMES_RAM = 8;
const MOST_BESIDE_RAM = 1 << 30;
/** So much of the file system stays free: saves of other guests go there. */
const SPARE_SHARE = 0.02;
const LOOK_EVERY = 64 << 20;
const PIECE = 1 << 20;

/**
 * Unpacks the image `fd` of `path` and returns the raw one, read-only. Throws 'no-space' when there is no
 * room for it beside the image.
 */
export async function unpackImage(
  { fd, path }: { fd: number; path: string },
  facts: ImageFacts,
  options: UnpackOptions = {},
): Promise<FileHandle> {
  const directory = dirname(await ifThere(path, (at) => realpath(at), path));
  const file = await openNameless(directory, 'unpacked').catch((error: unknown) => {
    throw unpackError(error, directory);
  });
  try {
    await copyHead(fd, file, facts.streamOffset);
    await unpackStream(fd, path, file, facts, options);
    return await open(`/proc/self/fd/${file.fd}`, constants.O_RDONLY);
  } catch (error) {
    throw diskFull(error, `unpacking ${path} beside it`);
  } finally {
    await file.close();
  }
}

/** As that of a raw image. The XML may be long, whatever it is good for. */
async function copyHead(fd: number, file: FileHandle, bytes: number): Promise<void> {
  const source = await open(`/proc/self/fd/${fd}`, constants.O_RDONLY);
  try {
    const piece = Buffer.alloc(Math.min(bytes, PIECE));
    for (let at = 0; at < bytes;) {
      const { bytesRead } = await source.read(piece, 0, Math.min(bytes - at, PIECE), at);
      if (bytesRead === 0) throw endsWithin();
      if (at === 0) piece.writeUInt32LE(0, FORMAT_AT);
      await file.write(piece, 0, bytesRead, at);
      at += bytesRead;
    }
  } finally {
    await source.close();
  }
}

async function unpackStream(
  fd: number,
  path: string,
  file: FileHandle,
  facts: ImageFacts,
  options: UnpackOptions,
): Promise<void> {
  if (!isCompressed(facts.format)) throw new ParsError('internal', `${path} is not compressed`);
  // A description of its own, with a position of its own.
  const source = await open(`/proc/self/fd/${fd}`, constants.O_RDONLY);
  try {
    skip(source.fd, facts.streamOffset);
    const filter = new Filter(commandFor(facts.format, 'unpack'), source.fd, options.signal);
    try {
      await keep(filter.output(), path, file, facts, options);
      await filter.finish();
    } finally {
      await filter.close();
    }
  } finally {
    await source.close();
  }
}

async function keep(
  pieces: AsyncGenerator<Buffer>,
  path: string,
  file: FileHandle,
  { streamOffset, domain }: ImageFacts,
  { onProgress, mostBytes }: UnpackOptions,
): Promise<void> {
  const most = mostBytes ?? MOST_TIMES_RAM * domain.memoryBytes + MOST_BESIDE_RAM;
  let at = streamOffset,
    looked = -Infinity;
  for await (const piece of pieces) {
    if (at - looked >= LOOK_EVERY) {
      await refuseCrowding(file, path);
      looked = at;
    }
    if (at + piece.length > most)
      throw new ParsError(
        'corrupt',
        `${path} unpacks to more than ${most} bytes, for a guest of ${domain.memoryBytes}`,
        { hint: 'it may have been made to fill your disk' },
      );
    for (let done = 0; done < piece.length;)
      done += (await file.write(piece, done, piece.length - done, at + done)).bytesWritten;
    at += piece.length;
    onProgress?.({ phase: 'unpacking', done: at, total: domain.memoryBytes, unit: 'bytes' });
  }
}

async function refuseCrowding(file: FileHandle, path: string): Promise<void> {
  const { bavail, blocks } = await statfs(`/proc/self/fd/${file.fd}`);
  if (bavail >= blocks * SPARE_SHARE) return;
  throw new HostDiskFull(`there is no room to unpack ${path} beside it`, {
    hint:
      "its guest's memory is needed there uncompressed for a while: make room on that file system, "
      + 'or set save_image_format = "raw" in /etc/libvirt/qemu.conf',
  });
}

function skip(fd: number, bytes: number): void {
  const buffer = Buffer.alloc(Math.min(bytes, PIECE));
  for (let left = bytes; left > 0;) {
    const read = readSync(fd, buffer, 0, Math.min(left, buffer.length), null);
    if (read === 0) throw endsWithin();
    left -= read;
  }
}

function endsWithin(): ParsError {
  return new ParsError('corrupt', 'the image ends within its XML');
}

function unpackError(cause: unknown, directory: string): unknown {
  const full = diskFull(cause, directory);
  if (full !== cause) return full;
  return new ParsError(
    'refused',
    `a compressed image is unpacked beside it, but nothing can be written in ${directory}: `
      + `${(cause as Error).message}`,
    { hint: 'run pars as root, or copy the image elsewhere', cause },
  );
}
