// SPDX-License-Identifier: Apache-2.0
/**
 * Memory files of libvirt's own snapshots (virsh snapshot-create-as --memspec). They look like saves, but it
 * is snapshot-revert that reads them, and libvirt's own metadata says which disks belong to them: deleting a
 * parent changes those, and the XML inside the memory file stays as it was.
 */
import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { ParseError } from '@xmldom/xmldom';
import { type DiskSource, disksOf, memoryFileOf } from './disk-sources.js';
import { ifThere, namesIn, readIfThere } from '../system/absence.js';
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
  const image = await ifThere(path, (at) => realpath(at), path);
  for (const domain of await namesIn(directory)) {
    for (const file of (await namesIn(join(directory, domain))).filter((name) => name.endsWith('.xml'))) {
      const xml = await readIfThere(join(directory, domain, file));
      const memory = xml === null ? null : memoryOf(xml);
      if (xml === null || memory === null) continue;
      if ((await ifThere(memory, (at) => realpath(at), memory)) === image)
        return { domain, name: file.slice(0, -'.xml'.length), disks: disksOf(xml) };
    }
  }
  return null;
}

/**
 * Null for a snapshot without a memory file, and for text that is not XML: libvirt cannot revert to that
 * either.
 */
function memoryOf(xml: string): string | null {
  try {
    return memoryFileOf(xml);
  } catch (error) {
    if (error instanceof ParseError) return null;
    throw error;
  }
}
