// SPDX-License-Identifier: Apache-2.0
import { realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { ifThere } from './absence.js';

/**
 * The one path of a file, whichever symbolic links its directory is reached by. The file itself is not
 * followed: a link in the place of an image is not an image.
 */
export async function realPathOf(path: string): Promise<string> {
  const absolute = resolve(path);
  const directory = await realDirectory(dirname(absolute));
  return join(directory, basename(absolute));
}

/** The same of a directory; of one that is not there the path as it is. */
export async function realDirectory(path: string): Promise<string> {
  const absolute = resolve(path);
  return ifThere(absolute, (at) => realpath(at), absolute);
}
