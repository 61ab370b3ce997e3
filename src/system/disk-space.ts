// SPDX-License-Identifier: Apache-2.0
/** Room on a file system, made sure of before the first byte is written. */
import { statfs } from 'node:fs/promises';
import { ParsError } from '../errors.js';
import { native } from '../native.js';

/** A file system of this host is full that is no part of a store. */
export class HostDiskFull extends ParsError {
  constructor(message: string, options: { hint: string; cause?: unknown }) {
    super('no-space', message, options);
  }
}

/** What is free on the file system of `path` for those who are not root. */
export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

/** Room for [offset, offset + bytes) of an open file. Throws 'no-space' before anything is written. */
export async function reserveRoom(fd: number, offset: number, bytes: number, path: string): Promise<void> {
  if (bytes <= 0) return;
  try {
    await native().reserve(fd, offset, bytes);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOSPC' || code === 'EDQUOT') throw noRoom(path, bytes, error);
    if (code !== 'EOPNOTSUPP') throw error;
    // A file system that cannot reserve: what it says is free must do.
    await refuseTightRoom(fd, bytes, path, error);
  }
}

/**
 * Throws 'no-space' when the file system of an open file has less than `bytes` free: for those that cannot be
 * reserved, because it is not known where they go.
 */
export async function refuseTightRoom(
  fd: number,
  bytes: number,
  path: string,
  cause?: unknown,
): Promise<void> {
  if ((await freeBytes(`/proc/self/fd/${fd}`)) < bytes) throw noRoom(path, bytes, cause);
}

/** A failure to write `path`, as a typed error: a full disk is told from everything else. */
export function diskFull(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  if (error instanceof ParsError || (code !== 'ENOSPC' && code !== 'EDQUOT')) return error;
  return noRoom(path, null, error);
}

function noRoom(path: string, bytes: number | null, cause: unknown): ParsError {
  const what = bytes === null ? path : `the ${bytes} bytes of ${path}`;
  return new HostDiskFull(`there is no room for ${what}`, {
    hint: 'make room on its file system, then try again',
    cause,
  });
}
