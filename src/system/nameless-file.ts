// SPDX-License-Identifier: Apache-2.0
/** A file that goes away with the descriptor. */
import { constants } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf } from './absence.js';
import { temporaryName } from './temporary-name.js';

/** Node has no name for it; as on every Linux but alpha, parisc and sparc. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/** O_TMPFILE where the file system has it; else a name that is taken away at once. */
export async function openNameless(directory: string, name: string): Promise<FileHandle> {
  try {
    return await open(directory, O_TMPFILE | constants.O_RDWR, 0o600);
  } catch (error) {
    if (!['EOPNOTSUPP', 'EISDIR', 'ENOENT', 'EINVAL'].includes(codeOf(error) ?? '')) throw error;
  }
  const path = join(directory, temporaryName(name));
  const file = await open(path, 'wx+', 0o600);
  await unlink(path);
  return file;
}
