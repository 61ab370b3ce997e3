// SPDX-License-Identifier: Apache-2.0
import type { NamedDisk } from '../../src/disks/named-disk.js';

/** A raw file called vda, but for `changes`. */
export function namedDisk(changes: Partial<NamedDisk> = {}): NamedDisk {
  const nothing = { source: '', pool: '', volume: '', network: null, backing: [] };
  return {
    target: 'vda',
    type: 'file',
    device: 'disk',
    format: 'raw',
    readOnly: false,
    ...nothing,
    ...changes,
  };
}
