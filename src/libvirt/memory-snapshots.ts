// SPDX-License-Identifier: Apache-2.0
/**
 * Memory files of libvirt's own snapshots (virsh snapshot-create-as --memspec). They look like saves, but it
 * is snapshot-revert that reads them, and libvirt's own metadata says which disks belong to them: deleting a
 * parent changes those, and the XML inside the memory file stays as it was.
 */
import { readdir, readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { ParsError } from '../errors.js';
import { type DiskSource, disksOf, memoryFileOf } from './disk-sources.js';
import { DEFAULT_SNAPSHOT_DIR } from './paths.js';

export interface MemorySnapshot {
  domain: string;
  name: string;
  /** The disks that libvirt will give the guest when it reverts: what the memory belongs to. */
  disks: DiskSource[];
}

/**
 * The snapshot whose memory is the file at `path`; null when there is none. Throws 'refused' when libvirt's
 * directory may not be read.
 */
export async function memorySnapshotOf(
  path: string,
  directory = DEFAULT_SNAPSHOT_DIR,
): Promise<MemorySnapshot | null> {
  const image = await realpath(path).catch(() => path);
  for (const domain of await namesIn(directory)) {
    for (const file of (await namesIn(join(directory, domain))).filter((name) => name.endsWith('.xml'))) {
      const xml = await textOf(join(directory, domain, file));
      const memory = xml === null ? null : memoryOf(xml);
      if (xml === null || memory === null) continue;
      if ((await realpath(memory).catch(() => memory)) === image)
        return { domain, name: file.slice(0, -'.xml'.length), disks: disksOf(xml) };
    }
  }
  return null;
}

/**
 * Null for a snapshot without a memory file, and for text that is no XML: libvirt cannot revert to that
 * either.
 */
function memoryOf(xml: string): string | null {
  try {
    return memoryFileOf(xml);
  } catch {
    return null;
  }
}

/** A snapshot may be deleted between the listing and the look. */
async function textOf(path: string): Promise<string | null> {
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => nothingIfGone(error, path, null));
}

async function namesIn(directory: string): Promise<string[]> {
  return readdir(directory).catch((error: NodeJS.ErrnoException) => nothingIfGone(error, directory, []));
}

function nothingIfGone<T>(cause: NodeJS.ErrnoException, path: string, nothing: T): T {
  if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') return nothing;
  const message = `cannot see which snapshots libvirt has: ${path}: ${cause.message}`;
  throw new ParsError('refused', message, { hint: 'run pars as root', cause });
}
