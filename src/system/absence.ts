// SPDX-License-Identifier: Apache-2.0
/**
 * Looks at files that may not be there. Only "there is nothing of that name" counts as absence: what this user may not
 * read, or a disk fails to show, is an error, never "nothing there".
 */
import { stat } from 'node:fs/promises';
import { ParsError } from '../errors.js';

/** Whether the system said that there is nothing of that name. */
export function isMissing(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** What `look` finds at `path`; `otherwise` when nothing is there. Every other failure is thrown as a ParsError. */
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

/** Whether anything is at `path`. Throws when that cannot be told. */
export async function isThere(path: string): Promise<boolean> {
  return (await ifThere(path, stat, null)) !== null;
}

/**
 * A look at `path` that failed, as an error of Pars: 'refused' when this user may not look, 'unreachable' when the disk
 * answers with an error. What the system did not say is handed through.
 */
export function cannotLook(path: string, cause: unknown): unknown {
  const code = codeOf(cause);
  if (cause instanceof ParsError || code === undefined) return cause;
  if (code === 'EACCES' || code === 'EPERM') {
    return new ParsError('refused', `${path} may not be read by this user`, {
      hint: 'run pars as root',
      cause,
    });
  }
  const why = (cause as Error).message;
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return new ParsError('missing', `there is no ${path}`, { cause });
  return new ParsError('unreachable', `cannot look at ${path}: ${why}`, {
    hint: "see the system's log",
    cause,
  });
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}
