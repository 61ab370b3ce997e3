/** Room on a file system, made sure of before the first byte is written. */
import { statfs } from 'node:fs/promises';
import { ParsError } from './errors.js';
import { native } from './native.js';

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
    const { bavail, bsize } = await statfs(`/proc/self/fd/${fd}`);
    if (bavail * bsize < bytes) throw noRoom(path, bytes, error);
  }
}

/** A failure to write `path`, as an error of ours: a full disk is told from everything else. */
export function diskFull(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  if (error instanceof ParsError || (code !== 'ENOSPC' && code !== 'EDQUOT')) return error;
  return noRoom(path, null, error);
}

function noRoom(path: string, bytes: number | null, cause: unknown): ParsError {
  const what = bytes === null ? path : `the ${bytes} bytes of ${path}`;
  return new ParsError('no-space', `there is no room for ${what}`, { hint: 'make room on its file system, then try again', cause });
}
