// SPDX-License-Identifier: Apache-2.0
import type { Manifest } from '../../src/snapshot/manifest.js';
import { PAGE_CLASSES, type PageClass } from '../../src/page-classes.js';
import { presetPolicy } from '../../src/policy/policy.js';

export const GUEST = '11111111-2222-3333-4444-555555555555';
/** A name that libvirt allows and no path may hold (R23). */
export const EVIL_NAME = "-a b;$(x)'é";

/** A manifest that is whole, of a guest with a name that is not nice. */
export function sampleManifest(changes: Partial<Manifest> = {}): Manifest {
  const { name, copies, criticalCopies } = presetPolicy('lean');
  return {
    format: 1,
    snapshot: `${GUEST}/20261123T093000Z-0123abcd`,
    storeId: 'a'.repeat(32),
    sequence: 1,
    created: '2026-11-23T09:30:00.000Z',
    token: '0123456789abcdef'.repeat(2),
    owner: { machineId: 'b'.repeat(32), host: 'host-b' },
    domain: { uuid: GUEST, name: EVIL_NAME },
    image: {
      path: '/nowhere/web.save',
      bytes: 1 << 20,
      format: 'raw',
      wasRunning: true,
      streamOffset: 5000,
      headEnd: 4096,
      headDigest: 'c'.repeat(64),
      managedSave: true,
    },
    guest: { introspected: true, kernel: '6.1.0-56-amd64', reason: null },
    disks: [{ target: 'vda', source: '/disk', bytes: 1, mtimeNs: '1', identity: null, readOnly: false }],
    policy: { name, copies, criticalCopies },
    classes: Object.fromEntries(
      PAGE_CLASSES.map((pageClass) => [pageClass, { pages: 10, payloadPages: 5, storedBytes: 1000 }]),
    ) as Record<PageClass, { pages: number; payloadPages: number; storedBytes: number }>,
    index: { name: 'index', bytes: 100, sha256: 'd'.repeat(64) },
    objects: [{ name: 'skeleton.0', bytes: 100, xxh3: 'e'.repeat(32), copies: 3 }],
    storedBytes: 123456,
    revision: 0,
    droppedPages: 0,
    ...changes,
  };
}
