// SPDX-License-Identifier: Apache-2.0
/**
 * Memory files of libvirt's own snapshots (virsh snapshot-create-as --memspec). They look like saves, but it
 * is snapshot-revert that reads them, and whether our hook is asked then has not been proven: such a file
 * stays whole.
 */
import { readdir, readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { DOMParser, type Element } from '@xmldom/xmldom';
import { DEFAULT_SNAPSHOT_DIR } from './paths.js';

export interface MemorySnapshot {
  domain: string;
  name: string;
}

/** The snapshot whose memory is the file at `path`; null when there is none. */
export async function memorySnapshotOf(
  path: string,
  directory = DEFAULT_SNAPSHOT_DIR,
): Promise<MemorySnapshot | null> {
  const image = await realpath(path).catch(() => path);
  for (const domain of await readdir(directory).catch(() => [])) {
    for (const file of (await readdir(join(directory, domain)).catch(() => [])).filter((name) =>
      name.endsWith('.xml'),
    )) {
      const memory = await memoryFileOf(join(directory, domain, file));
      if (memory !== null && (await realpath(memory).catch(() => memory)) === image)
        return { domain, name: file.slice(0, -'.xml'.length) };
    }
  }
  return null;
}

/**
 * Null for a snapshot without a memory file, and for a file that is no XML: libvirt cannot revert to that
 * either.
 */
async function memoryFileOf(path: string): Promise<string | null> {
  try {
    const document = new DOMParser({ onError: () => {} }).parseFromString(
      await readFile(path, 'utf8'),
      'text/xml',
    );
    for (const node of Array.from(document.documentElement?.childNodes ?? [])) {
      if (node.nodeName !== 'memory') continue;
      const file = (node as Element).getAttribute('file');
      return file === '' ? null : file;
    }
  } catch {
    // nothing libvirt could read
  }
  return null;
}
