// SPDX-License-Identifier: Apache-2.0
/**
 * What of a store no guest needs any more (R28). Nothing is pruned that a stub on this host needs, that
 * another host owns, or whose age the store's own clock does not tell, each judged once more right before it
 * goes; and nothing at all while a place of the store is missing, for what looks like a fragment then may
 * have its manifest there.
 */
import { dirname } from 'node:path';
import { isThere } from '../system/absence.js';
import { changesOfDisks } from '../disks/compare.js';
import type { Retention } from '../policy/config.js';
import { sweepTemporaries } from '../system/atomic-file.js';
import { ParsError } from '../errors.js';
import { memorySnapshotOf } from '../libvirt/memory-snapshots.js';
import { DEFAULT_SNAPSHOT_DIR } from '../libvirt/paths.js';
import type { Host } from '../system/host.js';
import { stubPathsOf, stubTokenAt } from './removal.js';
import { liveStub } from '../image/live-stubs.js';
import {
  guestOf,
  listSnapshots,
  MANIFEST_NAME,
  objectPath,
  ownerOf,
  removeSnapshot,
  stateObject,
  type SnapshotEntry,
} from '../snapshot/snapshots.js';
import { encodeStateRecord } from '../snapshot/state-record.js';
import type { Store } from '../stores/store.js';
import type { StubRegistry } from '../image/stub-registry.js';

export type PruneReason = 'consumed' | 'discarded' | 'orphan' | 'fragment' | 'retention';

/**
 * What is to become of one snapshot. `dueInMs`: how long until it may go; 0 when it may go now; null when no
 * age makes it go.
 */
export interface Removable {
  snapshot: string;
  domain: string | null;
  reason: PruneReason;
  dueInMs: number | null;
  storedBytes: number;
}

export interface Pruning {
  removable: Removable[];
  /** Snapshots removed; none in a dry run. */
  removed: string[];
  /** Temporary files of killed writers: found in a dry run, else removed. */
  leftovers: number;
}

export interface PrunePlace {
  store: Store;
  host: Host;
  registry: StubRegistry;
  retention: Omit<Retention, 'automatic'>;
  /** Where this host keeps its notes; what killed writers left there is swept too. */
  stateDir?: string;
  /** Where libvirt keeps the XML of its own snapshots. */
  libvirtSnapshots?: string;
}

type Whole = SnapshotEntry & { condition: 'whole' };

export interface Pruned {
  /** Do it. */
  yes: boolean;
  /**
   * Orphans too. Age alone says nothing: a stub that vanished without a start may be missed any day (R30).
   */
  orphans?: boolean;
  /** The store is full: what a start has consumed goes before its time. */
  pressed?: boolean;
}

/**
 * Looks at every snapshot; with `yes` removes those that are due, and begins the grace of orphans seen for
 * the first time.
 */
export async function prune(place: PrunePlace, pruned: Pruned): Promise<Pruning> {
  const { yes } = pruned;
  const how = { orphans: false, pressed: false, ...pruned };
  await refusePartialStore(place.store);
  const entries = await listSnapshots(place.store);
  const judged: Removable[] = [];
  for (const entry of entries) {
    const found = await judge(place, entry, entries, how);
    if (found !== null) judged.push(found);
  }
  const removable: Removable[] = [];
  const removed: string[] = [];
  for (const first of judged) {
    const found = yes && first.dueInMs === 0 ? await judgeAgain(place, first.snapshot, how) : first;
    if (found !== null) removable.push(found);
    if (!yes || found?.dueInMs !== 0) continue;
    await removeSnapshot(place.store, found.snapshot);
    removed.push(found.snapshot);
  }
  const sweeping = { olderThanMs: uploadGraceMs(place.retention), dryRun: !yes };
  const leftovers =
    ((await place.store.sweep?.(sweeping)) ?? 0)
    + (place.stateDir === undefined ? 0 : await sweepTemporaries(place.stateDir, sweeping));
  if (yes)
    await forgetGone(
      place,
      new Set(entries.map(({ snapshot }) => snapshot).filter((snapshot) => !removed.includes(snapshot))),
    );
  return { removable, removed, leftovers };
}

/**
 * Right before a removal: since the store was listed a host may have taken the snapshot over, an upload
 * committed, a place gone missing.
 */
async function judgeAgain(
  place: PrunePlace,
  snapshot: string,
  how: Required<Pruned>,
): Promise<Removable | null> {
  await refusePartialStore(place.store);
  const now = await listSnapshots(place.store, guestOf(snapshot));
  const entry = now.find((one) => one.snapshot === snapshot);
  return entry === undefined ? null : judge(place, entry, now, how);
}

/**
 * Notes of stubs that are none any more, of snapshots that are gone. An offload makes its note before it
 * stores anything: young ones stay.
 */
async function forgetGone({ registry, retention }: PrunePlace, there: ReadonlySet<string>): Promise<void> {
  for (const stub of await registry.all()) {
    if (there.has(stub.snapshot) || (await registry.ageOf(stub)) < uploadGraceMs(retention)) continue;
    if (!(await liveStub(registry, stub))) await registry.remove(stub);
  }
  for (const stub of await registry.discarded())
    if (!there.has(stub.snapshot)) await registry.forgetDiscarded(stub);
}

async function refusePartialStore(store: Store): Promise<void> {
  const { usablePlaces, places } = await store.status();
  if (store.age === undefined)
    throw new ParsError(
      'refused',
      `${store.url} does not tell how old its objects are, so nothing in it can be pruned`,
      { hint: 'remove single snapshots with: pars rm' },
    );
  if (usablePlaces >= places) return;
  throw new ParsError(
    'unreachable',
    `only ${usablePlaces} of the ${places} places of ${store.url} are there: what looks abandoned may `
      + `be whole`,
    { hint: 'bring them all back first; see: pars store status' },
  );
}

async function judge(
  place: PrunePlace,
  entry: SnapshotEntry,
  all: readonly SnapshotEntry[],
  { yes, orphans, pressed }: Required<Pruned>,
): Promise<Removable | null> {
  if (entry.condition === 'unreadable') return null; // may become readable again; rm --force removes it
  if (entry.condition === 'incomplete') return fragment(place, entry.snapshot);
  if (ownerOf(entry).machineId !== place.host.machineId) return null;
  const found = (reason: PruneReason, dueInMs: number | null): Removable => ({
    snapshot: entry.snapshot,
    domain: entry.manifest.domain.name,
    reason,
    dueInMs: dueInMs === null ? null : Math.max(0, dueInMs),
    storedBytes: entry.manifest.storedBytes,
  });
  const need = await needOf(place, entry);
  if (need === 'needed') {
    if (yes) await place.store.remove(orphanObject(entry.snapshot));
    return null;
  }
  if (entry.state === 'consumed') {
    const consumedMs = await age(place, stateObject(entry.snapshot, 'consumed'));
    if (consumedMs === null) return null;
    if (entry.discarded) return found('discarded', place.retention.orphanGraceMs - consumedMs);
    return found('consumed', pressed ? 0 : place.retention.consumedMs - consumedMs);
  }
  if (entry.state === 'committed')
    return (await isRetained(place, entry, all)) ? null : found('retention', 0);
  const { image } = entry.manifest;
  if (pressed && image.managedSave && (await isResumed(place, entry))) return found('consumed', 0);
  if (need !== 'orphan') return null;
  const graceMs = place.retention.orphanGraceMs - (await orphanAge(place, entry, yes));
  // The memory of a snapshot that libvirt has deleted: that was asked for.
  const isMissed = image.memoryOf === undefined && !isSuperseded(entry, all);
  return found('orphan', orphans || !isMissed ? graceMs : null);
}

/** A start from it is noted on this host: a full store may have no room for the mark (R25). */
async function isResumed({ registry }: PrunePlace, { manifest }: Whole): Promise<boolean> {
  if (!(await registry.startNoted(manifest.domain.uuid))) return false;
  const stub = (await registry.all()).find(({ token }) => token === manifest.token);
  return stub?.refilled !== undefined;
}

/** A later managed save became a stub, so the guest was started since, even if no hook noted it. */
function isSuperseded({ manifest }: Whole, all: readonly SnapshotEntry[]): boolean {
  return all.some(
    (other) =>
      other.condition === 'whole'
      && other.state !== 'committed'
      && other.manifest.image.managedSave
      && other.manifest.domain.uuid === manifest.domain.uuid
      && other.manifest.sequence > manifest.sequence,
  );
}

/**
 * 'needed': a stub stands for it, at the place it was made or where this host has met it since, or it was
 * resumed and an image stands there, which may be the guest's only other memory. What cannot be looked at
 * counts as a stub. 'orphan': its stub is gone for certain.
 */
type NeedPlace = Pick<PrunePlace, 'registry' | 'libvirtSnapshots'>;
type Need = 'needed' | 'orphan' | 'unknown';

async function needOf(place: NeedPlace, entry: Whole): Promise<Need> {
  const { image, token } = entry.manifest;
  const paths = await stubPathsOf(place.registry, entry.manifest);
  const found = await Promise.all(paths.map((path) => tokenAt(path, image.headEnd, token)));
  if (found.includes(token) || (entry.state === 'waking' && found.includes('image'))) return 'needed';
  // A later snapshot of libvirt's wrote its memory over the stub, and that is a stub by now.
  const overwritten =
    image.memoryOf !== undefined && found.some((there) => there !== null && there !== 'image');
  return overwritten || (await isGoneForCertain(place, entry)) ? 'orphan' : 'unknown';
}

/** What cannot be looked at counts as the stub of that token. */
async function tokenAt(path: string, offset: number, token: string): Promise<string | null> {
  return stubTokenAt(path, offset).catch((error: unknown) => {
    if (error instanceof ParsError && error.kind === 'busy') return token;
    throw error;
  });
}

/**
 * Copies stored with --keep-local, and what an offload that is under way or was killed has stored: that one
 * the next offload settles.
 */
async function isRetained(
  { registry, retention, store }: PrunePlace,
  entry: Whole,
  all: readonly SnapshotEntry[],
): Promise<boolean> {
  const { keepLast, maxAgeMs } = retention;
  if ((await registry.all()).some(({ token }) => token === entry.manifest.token)) return true;
  if (keepLast === null && maxAgeMs === null) return true;
  const newer = all.filter(
    (other) =>
      other.condition === 'whole'
      && other.manifest.domain.uuid === entry.manifest.domain.uuid
      && other.manifest.sequence > entry.manifest.sequence,
  );
  if (keepLast !== null && newer.length < keepLast) return true;
  if (maxAgeMs === null) return false;
  const storedMs = await age({ store }, objectPath(entry.snapshot, MANIFEST_NAME));
  return storedMs === null || storedMs < maxAgeMs;
}

/**
 * Only a managed save is an orphan for certain when its file is gone: libvirt alone names those. A file of
 * `virsh save` may have been moved, a directory that is not there may be a disk that is not mounted, and of
 * one taken over the stub lies on another host. The memory of one of libvirt's snapshots goes with that
 * snapshot, and libvirt's own list tells which there are.
 */
async function isGoneForCertain(
  { libvirtSnapshots = DEFAULT_SNAPSHOT_DIR }: NeedPlace,
  { manifest: { image }, takenOver }: Whole,
): Promise<boolean> {
  if (takenOver !== undefined) return false;
  if (image.memoryOf !== undefined)
    return (
      (await isThere(libvirtSnapshots)) && (await memorySnapshotOf(image.path, libvirtSnapshots)) === null
    );
  return image.managedSave && (await isThere(dirname(image.path)));
}

function orphanObject(snapshot: string): string {
  return objectPath(snapshot, 'state-orphan');
}

/** Counted from when a prune first saw that the stub is gone, not from when it was made. */
async function orphanAge(
  { store, host }: PrunePlace,
  { snapshot, manifest }: Whole,
  yes: boolean,
): Promise<number> {
  if (yes) await beginGrace(store, snapshot, encodeStateRecord(host, manifest.token));
  return (await age({ store }, orphanObject(snapshot))) ?? 0;
}

/** In a store that is full it begins another time: what makes room must not need any. */
async function beginGrace(store: Store, snapshot: string, record: Buffer): Promise<void> {
  try {
    await store.createExclusive(orphanObject(snapshot), record, { copies: 1 });
  } catch (error) {
    if (!(error instanceof ParsError) || error.kind !== 'no-space') throw error;
  }
}

/** No upload is slower from one object to the next: a shorter grace is meant for orphans. */
const MIN_UPLOAD_MS = 86_400_000;

function uploadGraceMs({ orphanGraceMs }: PrunePlace['retention']): number {
  return Math.max(orphanGraceMs, MIN_UPLOAD_MS);
}

/**
 * An upload that was killed, or one under way: its youngest object tells. Null once anything of it is gone:
 * the upload withdraws it, or another prune takes it.
 */
async function fragment({ store, retention }: PrunePlace, snapshot: string): Promise<Removable | null> {
  const objects = await store.list(snapshot);
  // Not one finished object yet: an upload in its first minutes, or temporary files, whose age the sweep
  // knows.
  if (objects.length === 0) return null;
  const ages = await Promise.all(objects.map((object) => age({ store }, objectPath(snapshot, object))));
  const known = ages.filter((ms) => ms !== null);
  if (known.length < ages.length) return null;
  return {
    snapshot,
    domain: null,
    reason: 'fragment',
    dueInMs: Math.max(0, uploadGraceMs(retention) - Math.min(...known)),
    storedBytes: 0,
  };
}

/** Null for an object that is gone: others remove what they store and prune while this host judges it. */
async function age({ store }: Pick<PrunePlace, 'store'>, name: string): Promise<number | null> {
  if (store.age === undefined) throw new ParsError('internal', `${store.url} tells no ages`);
  return store.age(name).catch((error: unknown) => {
    if (error instanceof ParsError && error.kind === 'missing') return null;
    throw error;
  });
}

/** What `pars list` says of a managed save of this host that was discarded: with or without a start since. */
export interface Discarded {
  /** A disk is not what it was: the memory is of no use any more. */
  diskMovedOn: boolean;
}

/** Null for a snapshot whose stub is there, or whose guest was started from it. */
export async function discardedState(
  entry: SnapshotEntry,
  host: Host | null,
  place: NeedPlace,
): Promise<Discarded | null> {
  if (entry.condition !== 'whole' || host?.machineId !== ownerOf(entry).machineId) return null;
  const isGone = entry.discarded
    ? (await needOf(place, entry)) !== 'needed'
    : await isOrphaned(entry, host, place);
  if (!isGone) return null;
  return { diskMovedOn: (await changesOfDisks(entry.manifest.disks, { askLibvirt: false })).length > 0 };
}

/** Whether the stub of a snapshot of this host is gone, although its guest was not started. */
export async function isOrphaned(
  entry: SnapshotEntry,
  host: Host | null,
  place: NeedPlace,
): Promise<boolean> {
  if (entry.condition !== 'whole' || (entry.state !== 'stubbed' && entry.state !== 'waking')) return false;
  return (
    host !== null && ownerOf(entry).machineId === host.machineId && (await needOf(place, entry)) === 'orphan'
  );
}
