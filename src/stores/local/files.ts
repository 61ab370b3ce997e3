// SPDX-License-Identifier: Apache-2.0
/** The file operations a local store makes, in one place so that tests can let each of them fail. */
import * as fs from 'node:fs/promises';
import { dirname } from 'node:path';
import { ParsError, type ErrorKind } from '../../errors.js';
import { codeOf, isForbidden, isMissing } from '../../system/absence.js';

export type Files = Pick<
  typeof fs,
  | 'chmod'
  | 'link'
  | 'mkdir'
  | 'open'
  | 'readdir'
  | 'readFile'
  | 'rename'
  | 'rm'
  | 'rmdir'
  | 'stat'
  | 'statfs'
  | 'unlink'
>;

export const nodeFiles: Files = fs;

export const FILE_MODE = 0o600;
export const DIRECTORY_MODE = 0o700;

const HINTS: Partial<Record<ErrorKind, string>> = {
  'no-space': 'make room on that disk and try again',
  unreachable: 'see whether that disk is mounted, read-only or broken, and try again',
};

/**
 * A failed operation on a disk as a typed error. A disk that fails or is read-only cannot be reached:
 * another copy or another day may do.
 */
export function diskError(error: unknown, doing: string): ParsError {
  if (error instanceof ParsError) return error;
  const code = codeOf(error);
  const full = code === 'ENOSPC' || code === 'EDQUOT';
  const kind: ErrorKind = full ? 'no-space' : code === undefined ? 'internal' : 'unreachable';
  const hint = isForbidden(error) ? undefined : HINTS[kind];
  const message = full
    ? `no space left: ${doing}`
    : `${doing}: ${error instanceof Error ? error.message : String(error)}`;
  return new ParsError(kind, message, { cause: error, ...(hint !== undefined && { hint }) });
}

/** Makes the entries of `directory` durable. */
export async function syncDirectory(files: Files, directory: string): Promise<void> {
  const handle = await files.open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Makes the way from `root` down to `path` durable: a directory that another process just created counts too.
 */
export async function syncParents(files: Files, root: string, path: string): Promise<void> {
  for (let directory = dirname(path); directory.length >= root.length; directory = dirname(directory)) {
    await syncDirectory(files, directory);
    if (directory === root) return;
  }
}

/** Removes the directories between `root` and `path` that are empty now. */
export async function removeEmptyParents(files: Files, root: string, path: string): Promise<void> {
  for (let directory = dirname(path); directory.length > root.length; directory = dirname(directory)) {
    // One that is in use, or cannot be removed, stays, and so do those above it.
    const [removed] = await Promise.allSettled([files.rmdir(directory)]);
    if (removed.status === 'rejected') return;
  }
}

/**
 * Opens a new file, with its directories. They may be taken away meanwhile by somebody who found them empty.
 */
export async function openNew(files: Files, path: string): Promise<fs.FileHandle> {
  for (let attempt = 1; ; attempt++) {
    await files.mkdir(dirname(path), { recursive: true, mode: DIRECTORY_MODE });
    try {
      return await files.open(path, 'wx', FILE_MODE);
    } catch (error) {
      if (!isMissing(error) || attempt === 5) throw error;
    }
  }
}
