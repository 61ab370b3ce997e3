// SPDX-License-Identifier: Apache-2.0
/** Which disks of a guest a start will not be able to compare, told while the guest still runs on them. */
import { blockdevOf, isReason } from './blockdev.js';
import { lookAtFile } from './look.js';
import { isEmpty, isOptical, type NamedDisk, placeOf } from './named-disk.js';
import { type PoolOptions, volumePath } from './pools.js';
import { qemuNbd } from './qemu-export.js';
import { describeUncompared, isRaw, isToldByFiles } from './record.js';

/** In words. Nothing is opened: a server that is down by the time of the offload is not foreseen. */
export async function foreseeUncompared(
  disks: readonly NamedDisk[],
  options: PoolOptions,
): Promise<string[]> {
  const found: string[] = [];
  for (const disk of disks) {
    const reason = isOptical(disk) || isEmpty(disk) ? null : await whyUncompared(disk, options);
    const { target } = disk;
    if (reason !== null)
      found.push(describeUncompared({ target, source: placeOf(disk), uncompared: reason }));
  }
  return found;
}

async function whyUncompared(disk: NamedDisk, options: PoolOptions): Promise<string | null> {
  const { type, network, format, source, pool, volume } = disk;
  if (network !== null) {
    const graph = blockdevOf(disk, null, false);
    if (isReason(graph)) return graph.reason;
    return network.protocol === 'nbd' && isRaw(format) ? null : withoutQemu();
  }
  if (type !== 'file' && type !== 'block' && type !== 'volume')
    return `a disk of type ${type} has nothing to be told by`;
  const path = type === 'volume' ? await volumePath(pool, volume, options) : source;
  if (typeof path !== 'string') return path.reason;
  const now = await lookAtFile(path);
  if (now === null) return 'it is not there, or neither a file nor a block device';
  const isTold = now.identity.startsWith('device ') ? isRaw(format) : isToldByFiles(format);
  return isTold ? null : withoutQemu();
}

function withoutQemu(): string | null {
  return qemuNbd() === null ? 'qemu-nbd is not installed' : null;
}
