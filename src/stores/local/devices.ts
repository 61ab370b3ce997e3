// SPDX-License-Identifier: Apache-2.0
/**
 * Which device each directory of a new store lies on (R22). A copy is worth its disk: two on one are lost
 * together,
 * and what is put into the mount point of a disk that is not mounted lies on another one, and vanishes
 * under it later.
 */
import { dirname } from 'node:path';
import { ParsError } from '../../errors.js';
import { isMissing } from '../../system/absence.js';
import { diskError, type Files } from './files.js';

/** Device numbers, as stat(2) gives them. */
export interface Devices {
  /** Of the directory, or of where it would be made. */
  device: number;
  /** Of the directory above it, or of where that would be made. */
  above: number;
  /** Of the root of the file system. */
  root: number;
}

interface Located extends Devices {
  directory: string;
  exists: boolean;
}

export async function devicesOf(files: Files, directory: string): Promise<Devices> {
  const [device, above, root] = await Promise.all(
    [directory, dirname(directory), '/'].map((path) => deviceAt(files, path)),
  );
  return { device, above, root } as Devices;
}

/** Of `path`, or of the nearest directory above it that is there. */
async function deviceAt(files: Files, path: string): Promise<number> {
  try {
    return (await files.stat(path)).dev;
  } catch (error) {
    if (!isMissing(error)) throw diskError(error, `looking at ${path}`);
    return deviceAt(files, dirname(path));
  }
}

const ALLOWED =
  'mount the disks first, and give their mount points; if the directory is meant as it is (a test, a disk '
  + 'array, a directory within a disk that is mounted): --force';

/** Throws 'refused' for a directory that is not the mount point of a disk of its own, with the reason. */
export function refuseUnmounted({ directory, exists, device, above, root }: Located): void {
  const why = exists ? '' : ' does not exist, and';
  if (device === root)
    throw new ParsError(
      'refused',
      `${directory}${why} lies on the file system of /: its disk is not mounted, or its copies die with `
        + `the system's disk`,
      { hint: ALLOWED },
    );
  if (device !== above) return;
  throw new ParsError(
    'refused',
    `${directory}${why} lies on the same file system as ${dirname(directory)}: it is not a mount point, `
      + `so if a disk `
      + 'belongs there, it is not mounted',
    { hint: ALLOWED },
  );
}

/** Two directories on one device; null when each has a device of its own. */
export function sameDevice(candidates: readonly Located[]): [Located, Located] | null {
  for (const [i, candidate] of candidates.entries()) {
    const earlier = candidates.slice(0, i).find(({ device }) => device === candidate.device);
    if (earlier) return [earlier, candidate];
  }
  return null;
}

/** Throws 'refused' when two directories lie on one device. */
export function refuseSameDevice(candidates: readonly Located[]): void {
  const [one, other] = sameDevice(candidates) ?? [];
  if (!one || !other) return;
  throw new ParsError(
    'refused',
    `${one.directory} and ${other.directory} lie on the same device: a failure takes both copies`,
    {
      hint:
        'use one directory a disk, or --allow-same-device if that is meant (a test, or a disk array '
        + 'below)',
    },
  );
}
