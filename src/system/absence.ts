// SPDX-License-Identifier: Apache-2.0
/**
 * Looks at files that may not be there. Only "there is nothing of that name" counts as absence: what this
 * user may not
 * read, or a disk fails to show, is an error, never "nothing there".
 */
import type { Stats } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { ParsError } from '../errors.js';

/** Whether the system said that there is nothing of that name, nor, in /proc, a process of that number. */
export function isMissing(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ESRCH'].includes(codeOf(error) ?? '');
}

/** Whether the system said that this user may not. */
export function isForbidden(error: unknown): boolean {
  return ['EACCES', 'EPERM'].includes(codeOf(error) ?? '');
}

/**
 * What `look` finds at `path`; `otherwise` when nothing is there. Every other failure is thrown as a
 * ParsError.
 */
export async function ifThere<T, U>(
  path: string,
  look: (path: string) => Promise<T>,
  otherwise: U,
): Promise<T | U> {
  try {
    return await look(path);
  } catch (error) {
    if (isMissing(error)) return otherwise;
    throw cannotLook(path, error);
  }
}

/** The text of the file at `path`; null when nothing is there. */
export async function readIfThere(path: string): Promise<string | null> {
  return ifThere(path, (file) => readFile(file, 'utf8'), null);
}

/** What stat(2) says of `path`; null when nothing is there. */
export async function statIfThere(path: string): Promise<Stats | null> {
  return ifThere(path, (at) => stat(at), null);
}

/** The names in the directory at `path`; none when it is not there. */
export async function namesIn(path: string): Promise<string[]> {
  return ifThere(path, (at) => readdir(at), []);
}

/** Whether anything is at `path`. Throws when that cannot be told. */
export async function isThere(path: string): Promise<boolean> {
  return (await statIfThere(path)) !== null;
}

/**
 * A look at `path` that failed, as an error of Pars: 'refused' when this user may not look, 'unreachable'
 * when the disk
 * answers with an error. What the system did not say is handed through.
 */
export function cannotLook(path: string, cause: unknown): unknown {
  const code = codeOf(cause);
  if (cause instanceof ParsError || code === undefined) return cause;
  if (isForbidden(cause)) {
    return new ParsError('refused', `${path} may not be read by this user`, {
      hint: 'run pars as root',
      cause,
    });
  }
  const why = (cause as Error).message;
  if (isMissing(cause)) return new ParsError('missing', `there is no ${path}`, { cause });
  return new ParsError('unreachable', `cannot look at ${path}: ${why}`, {
    hint: "see the system's log",
    cause,
  });
}

/** "ENOSPC"; undefined for what the system did not say. */
export function codeOf(error: unknown): string | undefined {
  const code: unknown = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === 'string' ? code : undefined;
}
