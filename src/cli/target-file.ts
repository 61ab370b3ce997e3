// SPDX-License-Identifier: Apache-2.0
/** A file that an option names to be written. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { ParsError } from '../errors.js';

/**
 * Its full path, once it is clear that a file can be there: known before the work begins, not after it. A
 * mistyped directory is not made.
 */
export async function targetFile(option: string, path: string): Promise<string> {
  const target = resolve(path);
  const directory = dirname(target);
  if (!(await isDirectory(directory)))
    throw new ParsError('usage', `${option} ${path}: there is no directory ${directory}`, {
      hint: 'make it first, or name another',
    });
  const there = await stat(target).catch(() => null);
  if (there?.isDirectory())
    throw new ParsError('usage', `${option} ${path} is a directory`, {
      hint: `name the file to write in it, e.g. ${option} ${target === '/' ? '' : target}/NAME`,
    });
  if (there !== null && !there.isFile())
    throw new ParsError('usage', `${option} ${path} is there and is not a regular file`, {
      hint: 'name a file that can be written anew',
    });
  await access(directory, constants.W_OK).catch((cause: Error) => {
    throw new ParsError(
      'refused',
      `${option} ${path}: the directory ${directory} cannot be written to: ${cause.message}`,
      { hint: 'name a file in another, or run this as root', cause },
    );
  });
  return target;
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}
