// SPDX-License-Identifier: Apache-2.0
/**
 * Disks that a guest is to find elsewhere on another host (`--set-disk`): what can be done is told before
 * anything is.
 */
import { stat } from 'node:fs/promises';
import { ParsError } from '../errors.js';
import { isMissing } from '../system/absence.js';
import type { RecordedDisk } from './record.js';

/**
 * Those that QEMU reaches by a path, a pool or a network protocol: each can be a file or block device
 * instead.
 */
const MOVABLE = new Set(['file', 'block', 'volume', 'network']);

/** Throws 'usage' for a disk the guest does not have, 'refused' for one that cannot be a file or device. */
export function refuseMoves(disks: readonly RecordedDisk[], moved: ReadonlyMap<string, string>): void {
  const unknown = [...moved.keys()].filter((name) => !disks.some(({ target }) => target === name));
  if (unknown.length > 0) {
    const known = disks.map(({ target }) => target).join(', ');
    throw new ParsError('usage', `the guest has no disk ${unknown.join(', ')}`, {
      hint: `its disks: ${known || 'none'}`,
    });
  }
  const fixed = disks.find(
    ({ target, type }) => moved.has(target) && type !== undefined && !MOVABLE.has(type),
  );
  if (fixed === undefined) return;
  throw new ParsError(
    'refused',
    `${fixed.target} is a disk of type ${fixed.type}, which cannot become a file`,
    {
      hint: 'write the image to a file and edit its XML: pars restore --to FILE; virsh save-image-edit FILE',
    },
  );
}

/**
 * The targets whose new path is a block device. Throws 'refused' when a path is not there, or is something
 * else than a file.
 */
export async function devicesAmong(moved: ReadonlyMap<string, string>): Promise<Set<string>> {
  const devices = new Set<string>();
  for (const [target, path] of moved) {
    const stats = await stat(path).catch((error: Error) => {
      if (isMissing(error)) return null;
      throw new ParsError('refused', `${target} (${path}) cannot be looked at: ${error.message}`, {
        cause: error,
      });
    });
    if (stats === null)
      throw new ParsError('refused', `${target} (${path}) is not there`, {
        hint: 'copy the disk there first',
      });
    if (stats.isBlockDevice()) devices.add(target);
    else if (!stats.isFile())
      throw new ParsError('refused', `${target} (${path}) is neither a file nor a block device`);
  }
  return devices;
}
