// SPDX-License-Identifier: Apache-2.0
/**
 * Checkpoints: live snapshots of memory and disks that libvirt makes and names, whose memory is in the store.
 * libvirt's own list is the list of them; nothing is remembered beside it.
 */
import { randomBytes } from 'node:crypto';
import { ParsError } from '../errors.js';
import { examine } from '../health/snapshot-health.js';
import type { StubRegistry, KnownStub } from '../image/stub-registry.js';
import type { DiskSource } from '../libvirt/disk-sources.js';
import { deleteSnapshot, type GuestSnapshot, snapshotsOf } from '../libvirt/snapshots.js';
import { checkDisks } from '../disks/compare.js';
import { readManifest, removeSnapshot } from '../snapshot/snapshots.js';
import type { Store } from '../stores/store.js';
import { isThere, statIfThere } from '../system/absence.js';
import { realPathOf } from '../system/real-path.js';
import { disksAtRevert } from './memory-file.js';

/** Snapshots called so are checkpoints, and only those are deleted by retention. */
const NAME = /^pars-\d{8}T\d{6}Z-[0-9a-f]{4}$/;

export interface Checkpoint extends GuestSnapshot {
  memory: string;
  /** 'whole': still to be offloaded, or refilled by a rollback. 'missing': the memory file is gone. */
  state: 'stub' | 'whole' | 'missing';
  /** The snapshot in the store that holds its memory, as far as this host knows. */
  stored: string | null;
}

export function newCheckpointName(now = new Date()): string {
  const time = now.toISOString().replace(/[-:]|\.\d+/g, '');
  return `pars-${time}-${randomBytes(2).toString('hex')}`;
}

/** The checkpoints of a guest, the oldest first. */
export async function checkpointsOf(guest: string, live: readonly KnownStub[]): Promise<Checkpoint[]> {
  const found: Checkpoint[] = [];
  for (const { memory: named, ...snapshot } of await snapshotsOf(guest)) {
    if (named === null || !NAME.test(snapshot.name)) continue;
    // As stubs are noted: libvirt names it by the way it was told.
    const memory = await realPathOf(named);
    const stub = live.find(({ image }) => image === memory);
    const state = stub !== undefined ? 'stub' : (await isThere(memory)) ? 'whole' : 'missing';
    found.push({ ...snapshot, memory, state, stored: stub?.snapshot ?? null });
  }
  return found;
}

/**
 * Bytes that the disks of a checkpoint take, as they are since it was made: no guest writes them any more.
 */
export async function frozenBytes(disks: readonly DiskSource[]): Promise<number> {
  const sizes = disks
    .filter(({ source, blockDevice }) => source.startsWith('/') && !blockDevice)
    .map(async ({ source }) => ((await statIfThere(source))?.blocks ?? 0) * 512);
  return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0);
}

/**
 * Throws unless a revert would find what it needs: libvirt ends a running guest before the hook can say no. A
 * memory file that is whole needs nothing.
 */
export async function proveRevertable(store: Store, { stored, disks }: Checkpoint): Promise<void> {
  if (stored === null) return;
  const manifest = await readManifest(store, stored);
  // What nobody can compare, the hook judges by the guest's metadata: it alone is given that.
  await checkDisks(await disksAtRevert(manifest.disks, disks), { acceptUncompared: true, askLibvirt: true });
  const { findings } = await examine(store, stored, { percent: 0 });
  const gone = findings.filter(
    ({ critical, condition }) => critical && condition !== 'intact' && condition !== 'under-replicated',
  );
  if (gone.length === 0) return;
  const lost = gone.every(({ condition }) => condition === 'lost');
  throw new ParsError(
    lost ? 'lost' : 'unreachable',
    `no copy is available of ${gone.map(({ name }) => name).join(', ')}`,
    { hint: `the guest was left as it is; see: pars verify ${stored}` },
  );
}

export interface CheckpointRetention {
  keepLast: number | null;
  maxAgeMs: number | null;
}

/** Those that retention gives up, the oldest first; never the newest one. */
export function expired(
  checkpoints: readonly Checkpoint[],
  { keepLast, maxAgeMs }: CheckpointRetention,
  now = Date.now(),
): Checkpoint[] {
  const last = checkpoints.length - 1;
  return checkpoints.filter(({ created }, i) => {
    if (i === last) return false;
    return (
      (keepLast !== null && i <= last - keepLast) || (maxAgeMs !== null && now - created.getTime() > maxAgeMs)
    );
  });
}

/**
 * Has libvirt delete a checkpoint, which merges its disks, and then removes what the store holds of it.
 * Killed in between it leaves an orphan in the store, which prune finds by libvirt's list.
 */
export async function deleteCheckpoint(
  guest: string,
  { name, memory }: Checkpoint,
  place: { store: Store; registry: StubRegistry },
): Promise<void> {
  const stubs = (await place.registry.all()).filter(
    ({ image, memoryOf }) => image === memory && memoryOf === name,
  );
  await deleteSnapshot(guest, name);
  if (await isThere(memory)) return;
  for (const stub of stubs) {
    await removeSnapshot(place.store, stub.snapshot);
    await place.registry.remove(stub);
  }
}
