// SPDX-License-Identifier: Apache-2.0
/**
 * Managed saves that were stubs of this host and are gone, although no start of their guests consumed them
 * (R30): thrown away by hand, or by a libvirt that took a refused start for a resumed guest. The memory is in
 * the store only.
 */
import { lstat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ifThere } from '../system/absence.js';
import { liveStub } from './live-stubs.js';
import type { KnownStub, StubRegistry } from './stub-registry.js';

/**
 * Of the stubs this host remembers. A start that the hook noted is none of them, whether or not it was
 * settled since.
 */
export async function lostStubs(registry: StubRegistry): Promise<KnownStub[]> {
  const known = (await registry.all()).filter(
    ({ managedSave, consumed }) => managedSave && consumed !== true,
  );
  const lost = await Promise.all(known.map((stub) => isLost(registry, stub)));
  return known.filter((_, i) => lost[i]);
}

/**
 * Of a snapshot that was removed on purpose: nobody misses its stub. One that is there all the same stays
 * known.
 */
export async function forgetLost(registry: StubRegistry, snapshot: string): Promise<void> {
  for (const stub of await registry.all())
    if (stub.snapshot === snapshot && !(await liveStub(registry, stub))) await registry.remove(stub);
  for (const stub of await registry.discarded())
    if (stub.snapshot === snapshot) await registry.forgetDiscarded(stub);
}

async function isLost(registry: StubRegistry, stub: KnownStub): Promise<boolean> {
  const isSeenGone = (await isGone(stub.image)) && !(await isOutOfSight(stub));
  return isSeenGone && !(await registry.startNoted(stub.domainUuid));
}

/** A directory that is not there may be a disk that is not mounted. What may not be looked at is an error. */
export async function isOutOfSight({ image }: KnownStub): Promise<boolean> {
  return isGone(dirname(image));
}

async function isGone(path: string): Promise<boolean> {
  return (await ifThere(path, (at) => lstat(at), null)) === null;
}
