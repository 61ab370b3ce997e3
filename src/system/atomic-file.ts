// SPDX-License-Identifier: Apache-2.0
/**
 * Small files that are either there whole or as they were: temporary name, fsync, rename, fsync of
 * the directory.
 */
import { mkdir, open, readdir, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { bestEffort } from './best-effort.js';
import { ifThere, statIfThere } from './absence.js';
import { diskFull } from './disk-space.js';
import { isTemporary, temporaryName } from './temporary-name.js';

/** Writes `data` to `path`, making its directory if need be. Throws 'no-space' for a full disk. */
export async function writeAtomically(path: string, data: string | Buffer, mode = 0o600): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = join(dirname(path), temporaryName(basename(path)));
  try {
    await writeNew(temporary, data, mode);
    await rename(temporary, path);
  } catch (error) {
    await bestEffort(unlink(temporary));
    throw diskFull(error, path);
  }
  await syncPath(dirname(path));
}

/**
 * Removes what writers that were killed left below `root` and is older than that; returns how many there
 * were. With `dryRun` it only counts.
 */
export async function sweepTemporaries(
  root: string,
  { olderThanMs, dryRun }: { olderThanMs: number; dryRun: boolean },
): Promise<number> {
  let swept = 0;
  for (const name of await ifThere(root, (path) => readdir(path, { recursive: true }), [])) {
    if (!isTemporary(basename(name))) continue;
    const { mtimeMs } = (await statIfThere(join(root, name))) ?? { mtimeMs: Infinity };
    if (Date.now() - mtimeMs < olderThanMs) continue;
    swept++;
    if (!dryRun) await ifThere(join(root, name), unlink, undefined);
  }
  return swept;
}

/** Makes a file, or the names in a directory, durable. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function writeNew(path: string, data: string | Buffer, mode: number): Promise<void> {
  const handle = await open(path, 'wx', mode);
  try {
    await handle.chmod(mode);
    await handle.writeFile(data);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
