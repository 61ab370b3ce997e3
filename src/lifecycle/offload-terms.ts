// SPDX-License-Identifier: Apache-2.0
/** What an offload goes by: the guest's disks as they are, and how many copies each class gets. */
import { type RecordedDisk, recordDisks, uncomparedIn } from '../disks/record.js';
import type { MemorySnapshot } from '../libvirt/memory-snapshots.js';
import { policyByName, type Policy, withCacheKept } from '../policy/policy.js';
import type { ImageFacts } from '../reader/inspection.js';
import { withSources } from './memory-file.js';
import type { OffloadOptions } from './offload-request.js';

/** The guest's disks; of the memory of one of libvirt's snapshots those that belong to that. */
export async function disksOf(
  { domain }: ImageFacts,
  memory: MemorySnapshot | null,
  signal: AbortSignal | undefined,
): Promise<RecordedDisk[]> {
  const disks = memory === null ? domain.disks : withSources(domain.disks, memory.disks);
  return recordDisks(disks, { askLibvirt: true, signal });
}

/**
 * --policy, else the guest's own choice, else the configuration's. Cache of a disk that nobody can compare is
 * kept: what is read again may be something else. Which cache that is nobody knows, so it is all of it.
 */
export function policyFor(
  { domain }: ImageFacts,
  disks: readonly RecordedDisk[],
  { policy, policyIsFixed }: Pick<OffloadOptions, 'policy' | 'policyIsFixed'>,
): Policy {
  const chosen = policyIsFixed || domain.policy === null ? policy : policyByName(domain.policy);
  return uncomparedIn(disks).length === 0 ? chosen : withCacheKept(chosen);
}
