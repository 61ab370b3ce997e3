// SPDX-License-Identifier: Apache-2.0
/**
 * An image that was refilled for a start that failed: it is what its snapshot holds, as long as nobody has
 * written it. It becomes the stub again with nothing stored again.
 */
import { ParsError } from '../errors.js';
import { fileVersion, type ImageFile, type ImageIdentity } from '../image/image-file.js';
import { isCompressed } from '../image/save-format.js';
import { preambleDigest } from '../image/stub-preamble.js';
import { MAX_STUB_BYTES } from '../image/stub.js';
import type { KnownStub } from '../image/stub-registry.js';
import { examine } from '../health/snapshot-health.js';
import { PAGE_CLASSES } from '../page-classes.js';
import type { Policy } from '../policy/policy.js';
import type { ImageFacts } from '../reader/inspection.js';
import type { Manifest } from '../snapshot/manifest.js';
import { findSnapshot, type SnapshotEntry } from '../snapshot/snapshots.js';
import type { Store } from '../stores/store.js';
import { isHeldHere } from './claims.js';
import { guardDisks } from './hydrate.js';
import type { OffloadPlace } from './offload-request.js';

export interface RefilledLook {
  facts: ImageFacts;
  identity: ImageIdentity;
  /** What this host remembers of the image. */
  stubs: readonly KnownStub[];
  /** Whether a snapshot is what this offload would store. */
  isWanted(manifest: Manifest): boolean;
  signal?: AbortSignal;
}

/**
 * The snapshot that the image was refilled from, when it still is that and the store still holds all of it;
 * null when there is any doubt, and the image is to be stored like any other.
 */
export async function snapshotOfRefilled(
  image: ImageFile,
  { facts, identity, stubs, isWanted, signal }: RefilledLook,
  place: OffloadPlace,
): Promise<Manifest | null> {
  const stub = stubs.find(({ refilled }) => refilled === fileVersion(identity));
  if (stub === undefined) return null;
  const entry = await entryOf(place.store, stub.snapshot);
  if (entry === null || entry.state === 'consumed' || entry.manifest.token !== stub.token) return null;
  const { manifest } = entry;
  const agrees =
    (await isHeldHere(place.store, entry, place.host))
    && isWanted(manifest)
    && (await hasHeadOf(image, facts, manifest))
    && (await disksAgree(image.path, facts, manifest, place, signal))
    && (await isStored(place.store, manifest, signal));
  return agrees ? manifest : null;
}

/** Whether a policy is the one that a snapshot was stored by. */
export function isStoredBy({ policy }: Manifest, { name, copies, criticalCopies, coding }: Policy): boolean {
  return (
    policy.name === name
    && policy.criticalCopies === criticalCopies
    && policy.coding === coding
    && PAGE_CLASSES.every((pageClass) => policy.copies[pageClass] === copies[pageClass])
  );
}

async function entryOf(
  store: Store,
  snapshot: string,
): Promise<(SnapshotEntry & { condition: 'whole' }) | null> {
  try {
    const entry = await findSnapshot(store, snapshot);
    return entry.condition === 'whole' ? entry : null;
  } catch (error) {
    if (error instanceof ParsError && error.kind === 'missing') return null;
    throw error;
  }
}

/** Of a compressed image there is no head but the one its stub gets. */
async function hasHeadOf(
  image: ImageFile,
  facts: ImageFacts,
  { domain, image: saved }: Manifest,
): Promise<boolean> {
  const isSame = facts.domain.uuid === domain.uuid && facts.format === saved.format;
  if (!isSame || saved.headEnd === 0 || facts.bytes < saved.headEnd + MAX_STUB_BYTES) return false;
  if (saved.rawBytes !== undefined && isCompressed(saved.format))
    return preambleDigest(saved.format) === saved.headDigest;
  return (
    facts.headEnd === saved.headEnd
    && (await image.digest(facts.streamOffset, saved.headEnd)) === saved.headDigest
  );
}

/** Disks that nobody can compare are as good as they were, unless the snapshot leans on them. */
async function disksAgree(
  path: string,
  { domain }: ImageFacts,
  manifest: Manifest,
  place: OffloadPlace,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const acceptUncomparedDisks = manifest.references === undefined;
  try {
    await guardDisks(path, manifest, domain, place, {
      acceptChangedDisks: false,
      acceptUncomparedDisks,
      ...(signal && { signal }),
    });
    return true;
  } catch (error) {
    if (error instanceof ParsError && error.kind === 'refused') return false;
    throw error;
  }
}

/** Every object, with every copy that the policy wants: what was proved when it was stored (R20). */
async function isStored(
  store: Store,
  { snapshot }: Manifest,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const { findings } = await examine(store, snapshot, { percent: 0, ...(signal && { signal }) });
  return findings.every(({ role, condition }) => role === 'state' || condition === 'intact');
}
