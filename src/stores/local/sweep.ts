// SPDX-License-Identifier: Apache-2.0
/**
 * What killed writers leave in a local store, and how old things are. The clock is this host's, as the files'
 * times are.
 */
import { join } from 'node:path';
import { isMissing } from '../../system/absence.js';
import { isTemporary } from '../../system/temporary-name.js';
import { diskError, type Files, removeEmptyParents } from './files.js';
import { MAX_DEPTH } from '../store.js';

/**
 * Milliseconds since the file was last written; null when it is not there. A time in the future is no age at
 * all.
 */
export async function ageOf(files: Files, path: string): Promise<number | null> {
  try {
    return Math.max(0, Date.now() - (await files.stat(path)).mtimeMs);
  } catch (error) {
    if (isMissing(error)) return null;
    throw diskError(error, `looking at ${path}`);
  }
}

/** Removes the temporary files below `root` that are old enough; returns how many there were. */
export async function sweepDirectory(
  files: Files,
  root: string,
  { olderThanMs, dryRun }: { olderThanMs: number; dryRun: boolean },
): Promise<number> {
  let swept = 0;
  for (const path of await temporariesBelow(files, root, 0)) {
    const age = await ageOf(files, path);
    if (age === null || age < olderThanMs) continue;
    swept++;
    if (dryRun) continue;
    await files.rm(path, { force: true }).catch((error: unknown) => {
      throw diskError(error, `removing ${path}`);
    });
    await removeEmptyParents(files, root, path);
  }
  return swept;
}

async function temporariesBelow(files: Files, directory: string, depth: number): Promise<string[]> {
  if (depth > MAX_DEPTH) return [];
  const entries = await files.readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw diskError(error, `listing ${directory}`);
  });
  const found: string[] = [];
  for (const entry of entries) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) {
      if (entry.name !== 'lost+found') found.push(...(await temporariesBelow(files, path, depth + 1)));
    } else if (isTemporary(entry.name)) found.push(path);
  }
  return found;
}
