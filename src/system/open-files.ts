// SPDX-License-Identifier: Apache-2.0
/** Which processes have a file open, as /proc shows it. */
import { constants } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ifThere, namesIn, readIfThere } from './absence.js';

const ACCESS_MODE = constants.O_RDONLY | constants.O_WRONLY | constants.O_RDWR;

/**
 * Names of the processes called one of `names` that have the file open for writing, with their ids: "libvirtd
 * (712)".
 */
export async function writersAmong(
  names: readonly string[],
  file: { dev: bigint; ino: bigint },
): Promise<string[]> {
  const writers: string[] = [];
  for (const pid of (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry))) {
    const name = ((await readIfThere(join('/proc', pid, 'comm'))) ?? '').trim();
    if (names.includes(name) && (await writes(pid, file))) writers.push(`${name} (${pid})`);
  }
  return writers;
}

/** A descriptor that was closed meanwhile is not open. */
async function writes(pid: string, { dev, ino }: { dev: bigint; ino: bigint }): Promise<boolean> {
  for (const fd of await namesIn(join('/proc', pid, 'fd'))) {
    const stats = await ifThere(join('/proc', pid, 'fd', fd), (path) => stat(path, { bigint: true }), null);
    if (stats === null || stats.dev !== dev || stats.ino !== ino) continue;
    const facts = (await readIfThere(join('/proc', pid, 'fdinfo', fd))) ?? '';
    const flags = parseInt(/^flags:\s*([0-7]+)$/m.exec(facts)?.[1] ?? '0', 8);
    if ((flags & ACCESS_MODE) !== constants.O_RDONLY) return true;
  }
  return false;
}
