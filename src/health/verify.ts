// SPDX-License-Identifier: Apache-2.0
/** `pars verify`: what the store still holds of each snapshot, and with --repair what can be made of it. */
import { ParsError, type ErrorKind } from '../errors.js';
import type { Host } from '../system/host.js';
import { type DiskHealth, examineDisks } from './disk-health.js';
import type { Manifest } from '../snapshot/manifest.js';
import { repair, type Repair } from './repair.js';
import { isRemoved } from './removed.js';
import { whileLocked } from './repair-lock.js';
import { examine, type HealthOptions, type SnapshotHealth } from './snapshot-health.js';
import { findSnapshot, ownerOf, readManifest, type SnapshotEntry } from '../snapshot/snapshots.js';
import type { Store } from '../stores/store.js';

export interface VerifyOptions extends HealthOptions {
  repair: boolean;
  /** Read what the snapshot leaves to the guest's disks as well. */
  disks?: boolean;
  /** Whose expendable losses may be given up: this host's own snapshots only. */
  host: Host | null;
  /** Makes a new snapshot of a damaged one's image, if that is whole here; null if it is not. */
  storeAgain?: (manifest: Manifest) => Promise<string | null>;
  /** For tests: how long a removal that has begun is waited for. */
  removalMs?: number;
}

/** What is known of a snapshot now: after the repair, if there was one. */
export type Verification = {
  snapshot: string;
  repair: Repair | null;
  storedAnew: string | null;
  /** Null when nobody asked, or nothing is on disks. */
  disks?: DiskHealth | null;
} & ({ health: SnapshotHealth; error: null } | { health: null; error: ParsError });

/**
 * Verifies one snapshot that was listed. One without a manifest does not exist, so nothing of it can be
 * wrong: null. Nor can it of one that is removed meanwhile (see `isRemoved` for what is taken for that).
 */
export async function verifySnapshot(
  store: Store,
  entry: SnapshotEntry,
  options: VerifyOptions,
): Promise<Verification | null> {
  if (entry.condition === 'incomplete') return null;
  const found = await verifyStored(store, entry.snapshot, options);
  if (!options.disks || entry.condition !== 'whole' || !found?.health) return found;
  const { manifest } = found.health;
  const disks = await examineDisks(store, { ...entry, manifest }, options.host, options);
  return disks?.error && (await isRemoved(store, entry.snapshot, options)) ? null : { ...found, disks };
}

/** Null when it was removed meanwhile. */
async function verifyStored(
  store: Store,
  snapshot: string,
  options: VerifyOptions,
): Promise<Verification | null> {
  try {
    const before = await examineSettled(store, snapshot, options);
    if (before === null) return null;
    if (!options.repair || isSound(before))
      return { snapshot, health: before, error: null, repair: null, storedAnew: null };
    const done = await whileLocked(store, snapshot, options.host, async () =>
      repair(store, await asItIsNow(store, before, options), await isOwn(store, snapshot, options.host)),
    );
    const after = await examineSettled(store, snapshot, options);
    if (after === null) return null;
    const storedAnew = isLost(after) ? ((await options.storeAgain?.(after.manifest)) ?? null) : null;
    return { snapshot, health: after, error: null, repair: done, storedAnew };
  } catch (error) {
    if (!(error instanceof ParsError) || error.kind === 'internal') throw error;
    if (await isRemoved(store, snapshot, options)) return null;
    return { snapshot, health: null, error, repair: null, storedAnew: null };
  }
}

/** So often a snapshot is looked at that others rewrite meanwhile. */
const LOOKS = 3;

/**
 * What is wrong with a snapshot as it still is, since a look takes hours: null for one that was removed
 * meanwhile, and another look at one that was repaired, whose old index and packs are gone.
 */
async function examineSettled(
  store: Store,
  snapshot: string,
  options: VerifyOptions,
): Promise<SnapshotHealth | null> {
  for (let look = 1; look <= LOOKS; look++) {
    const found = await examine(store, snapshot, options);
    if (isSound(found)) return found;
    if (await isRemoved(store, snapshot, options)) return null;
    const revision = await revisionNow(store, snapshot);
    if (revision === null || revision === found.manifest.revision) return found;
  }
  throw new ParsError('busy', `${snapshot} was repaired by others each time it was looked at`, {
    hint: 'verify it again',
  });
}

/** Null when no manifest can be read now: what was found of it counts. */
async function revisionNow(store: Store, snapshot: string): Promise<number | null> {
  try {
    return (await readManifest(store, snapshot)).revision;
  } catch (error) {
    if (error instanceof ParsError && error.kind !== 'internal') return null;
    throw error;
  }
}

/** What was found before the lock was taken, unless another repair has gone through meanwhile. */
async function asItIsNow(
  store: Store,
  before: SnapshotHealth,
  options: HealthOptions,
): Promise<SnapshotHealth> {
  const { snapshot, revision } = before.manifest;
  return (await readManifest(store, snapshot)).revision === revision
    ? before
    : examine(store, snapshot, options);
}

/** Whether a snapshot is this host's now, after what takeovers there were (R27). */
async function isOwn(store: Store, snapshot: string, host: Host | null): Promise<boolean> {
  const entry = await findSnapshot(store, snapshot);
  return entry.condition === 'whole' && ownerOf(entry).machineId === host?.machineId;
}

export function isSound({ findings }: SnapshotHealth): boolean {
  return findings.every(({ condition }) => condition === 'intact');
}

function isLost({ findings }: SnapshotHealth): boolean {
  return findings.some(({ critical, condition }) => critical && condition === 'lost');
}

/**
 * The kind of error that says best what is wrong; null when nothing is. The first of these that holds for any
 * object.
 */
export function worstFault(verification: Verification): ErrorKind | null {
  return worstOf([storedVerdict(verification), disksVerdict(verification.disks ?? null)]);
}

function disksVerdict(disks: DiskHealth | null): ErrorKind | null {
  if (disks === null) return null;
  return disks.error?.kind ?? (disks.lostPages > 0 ? 'corrupt' : null);
}

function storedVerdict({ health, error }: Verification): ErrorKind | null {
  if (health === null) return error.kind;
  const has = (fault: 'missing' | 'corrupt' | 'unreachable'): boolean =>
    health.findings.some(
      ({ condition, health: seen }) =>
        condition !== 'intact' && seen.faults.some((one) => one.fault === fault),
    );
  if (isLost(health)) return 'lost';
  if (has('corrupt')) return 'corrupt';
  if (has('unreachable')) return 'unreachable';
  return isSound(health) ? null : 'missing';
}

const SEVERITY: readonly ErrorKind[] = ['lost', 'corrupt', 'missing', 'unreachable'];

/** The worst of several outcomes. */
export function worstOf(outcomes: readonly (ErrorKind | null)[]): ErrorKind | null {
  const bad = outcomes.filter((outcome): outcome is ErrorKind => outcome !== null);
  return SEVERITY.find((kind) => bad.includes(kind)) ?? bad[0] ?? null;
}
