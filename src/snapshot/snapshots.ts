// SPDX-License-Identifier: Apache-2.0
/** The snapshots in a store: finding, reading and removing them, and the states they go through. */
import { ParsError } from '../errors.js';
import { decodeManifest, NewerFormatError } from './manifest-codec.js';
import type { Manifest } from './manifest.js';
import type { Host } from '../system/host.js';
import { readStateRecord, type StateRecord } from './state-record.js';
import { guestOf, isSnapshotName, objectPath } from './snapshot-names.js';
import { isUuid } from '../system/uuid.js';
import type { Store } from '../stores/store.js';
import { counted } from '../system/counted.js';
import { plain } from '../system/plain-text.js';

export { guestOf, newSnapshotName, objectPath } from './snapshot-names.js';
export { encodeManifest } from './manifest-codec.js';

export const MANIFEST_NAME = 'manifest.json';

/**
 * What can happen to a snapshot after it is committed, in the order in which a later one hides an earlier
 * (R25).
 */
export const STATES = ['stubbed', 'waking', 'consumed'] as const;
export type State = (typeof STATES)[number];
export type SnapshotState = 'committed' | State;

/** A snapshot as `list` sees it: whole, or with what is wrong with it. */
export type SnapshotEntry =
  | {
      snapshot: string;
      condition: 'whole';
      state: SnapshotState;
      manifest: Manifest;
      /** Its guest was started without it: it was a stub, and never resumed. */
      discarded?: boolean;
      takenOver?: Manifest['owner'];
    }
  | { snapshot: string; condition: 'incomplete' }
  | { snapshot: string; condition: 'unreadable'; error: ParsError };

const CONCURRENT_READS = 16;

export function stateObject(snapshot: string, state: State): string {
  return objectPath(snapshot, `state-${state}`);
}

const TAKEOVER = /^state-takeover-(\d{1,6})$/;

/** The object of the n-th takeover, from 1. The last one names the owner (R27). */
export function takeoverObject(snapshot: string, n: number): string {
  return objectPath(snapshot, `state-takeover-${n}`);
}

/** How often a snapshot was taken over, from the names of its objects. */
export function takeoversIn(objects: readonly string[]): number {
  return Math.max(0, ...objects.map((name) => Number(TAKEOVER.exec(name)?.[1] ?? 0)));
}

/** Whose a snapshot is: the host that took it over last, else the one that stored it (R27). */
export function ownerOf(entry: SnapshotEntry & { condition: 'whole' }): Manifest['owner'] {
  return entry.takenOver ?? entry.manifest.owner;
}

/** Everything that looks like a snapshot, those of one guest in the order of their making. */
export async function listSnapshots(store: Store, uuid?: string): Promise<SnapshotEntry[]> {
  const names = await snapshotNames(store, uuid);
  const entries: SnapshotEntry[] = [];
  for (let i = 0; i < names.length; i += CONCURRENT_READS) {
    entries.push(
      ...(await Promise.all(names.slice(i, i + CONCURRENT_READS).map((name) => readEntry(store, name)))),
    );
  }
  return entries.sort(byGuestAndSequence);
}

/** One snapshot, whatever its condition. 'missing' when there is no trace of it. */
export async function findSnapshot(store: Store, snapshot: string): Promise<SnapshotEntry> {
  const objects = await store.list(objectPath(snapshot, MANIFEST_NAME).slice(0, -MANIFEST_NAME.length - 1));
  if (objects.length === 0) throw noSuchSnapshot(snapshot);
  return readEntry(store, snapshot, objects);
}

/** The manifest of a snapshot. A snapshot without one does not exist. */
export async function readManifest(store: Store, snapshot: string): Promise<Manifest> {
  return decodeManifest(await readManifestBytes(store, snapshot), snapshot);
}

/**
 * Its bytes as they are stored. A repaired snapshot may have an older manifest on a disk that was away: the
 * latest revision counts.
 */
export async function readManifestBytes(store: Store, snapshot: string): Promise<Buffer> {
  try {
    return await store.readWhole(
      objectPath(snapshot, MANIFEST_NAME),
      (copy) => isReadable(copy, snapshot),
      (copy) => revisionOf(copy, snapshot),
    );
  } catch (error) {
    throw error instanceof ParsError && error.kind === 'missing' ? noSuchSnapshot(snapshot, error) : error;
  }
}

export async function readState(store: Store, snapshot: string): Promise<SnapshotState> {
  return stateFrom(await store.list(snapshot));
}

/** Throws 'busy' for a snapshot that somebody has removed while its image waited to become a stub. */
export async function refuseRemoved(store: Store, snapshot: string): Promise<void> {
  if ((await store.list(snapshot)).includes(MANIFEST_NAME)) return;
  throw new ParsError('busy', `${snapshot} was removed from the store before its image became a stub`, {
    hint: 'the image is whole; offload it again',
  });
}

/**
 * One more than the largest sequence number among the guest's snapshots. Those that cannot be read do not
 * count.
 */
export async function nextSequence(store: Store, uuid: string): Promise<number> {
  const entries = await listSnapshots(store, uuid);
  return (
    1 + Math.max(0, ...entries.map((entry) => (entry.condition === 'whole' ? entry.manifest.sequence : 0)))
  );
}

/**
 * The full name for what a person typed: a full name, a guest's UUID (its latest snapshot), or the beginning
 * of exactly one of these.
 */
export async function resolveSnapshot(store: Store, typed: string): Promise<string> {
  if (isSnapshotName(typed)) return typed;
  const found = (await listSnapshots(store)).filter(({ snapshot }) =>
    snapshot.startsWith(typed.toLowerCase()),
  );
  const whole = found.filter(({ condition }) => condition === 'whole');
  const latest =
    (isUuid(typed.toLowerCase()) ? whole.at(-1) : undefined) ?? (found.length === 1 ? found[0] : undefined);
  if (typed !== '' && latest) return latest.snapshot;
  if (found.length === 0 || typed === '') throw noSuchSnapshot(typed);
  throw new ParsError('usage', `"${typed}" fits ${counted(found.length, 'snapshot')}:\n${listed(found)}`, {
    hint: 'give more of the name',
  });
}

/** So many are listed where a name fits several. */
const LISTED = 20;

/** A line each: its name, when it was stored, and of which guest. */
function listed(entries: readonly SnapshotEntry[]): string {
  const lines = entries
    .slice(-LISTED)
    .map((entry) =>
      entry.condition === 'whole'
        ? `${entry.snapshot}  ${plain(entry.manifest.created)}  ${plain(entry.manifest.domain.name)}`
        : `${entry.snapshot}  ${entry.condition}`,
    );
  const more = entries.length - lines.length;
  return [...(more === 0 ? [] : [`(${more} more before these: pars list)`]), ...lines].join('\n');
}

/**
 * Removes a snapshot: the manifest first, so that it does not exist from then on, then everything else,
 * whatever is left of it.
 */
export async function removeSnapshot(store: Store, snapshot: string): Promise<void> {
  const manifest = objectPath(snapshot, MANIFEST_NAME);
  const failure = await store.remove(manifest).catch((error: unknown) => error);
  if (failure !== undefined && !(failure instanceof ParsError && failure.kind === 'unreachable'))
    throw failure;
  await store.remove(snapshot);
  if (failure !== undefined) throw failure;
}

async function snapshotNames(store: Store, uuid?: string): Promise<string[]> {
  const guests = uuid === undefined ? (await store.list('')).filter(isUuid) : [uuid];
  const lists = await Promise.all(
    guests.map(async (guest) => (await store.list(guest)).map((rest) => `${guest}/${rest}`)),
  );
  return lists.flat().filter(isSnapshotName);
}

async function readEntry(store: Store, snapshot: string, known?: string[]): Promise<SnapshotEntry> {
  const objects = known ?? (await store.list(snapshot));
  if (!objects.includes(MANIFEST_NAME)) return { snapshot, condition: 'incomplete' };
  try {
    const takenOver = await readTakeover(store, snapshot, objects);
    return {
      snapshot,
      condition: 'whole',
      state: stateFrom(objects),
      manifest: await readManifest(store, snapshot),
      ...(wasDiscarded(objects) && { discarded: true }),
      ...(takenOver && { takenOver }),
    };
  } catch (error) {
    if (error instanceof ParsError) return { snapshot, condition: 'unreadable', error };
    throw error;
  }
}

/** The host of the last takeover; null when there was none. `reader` as in readStateRecord. */
export async function readTakeover(
  store: Store,
  snapshot: string,
  objects: readonly string[],
  reader?: Pick<Host, 'machineId'>,
): Promise<StateRecord | null> {
  const n = takeoversIn(objects);
  return n === 0 ? null : readStateRecord(store, takeoverObject(snapshot, n), reader);
}

function stateFrom(objects: readonly string[]): SnapshotState {
  return STATES.findLast((state) => objects.includes(`state-${state}`)) ?? 'committed';
}

/** By the names of its objects: consumed as a stub that nobody had resumed. */
export function wasDiscarded(objects: readonly string[]): boolean {
  const has = (state: State): boolean => objects.includes(`state-${state}`);
  return has('consumed') && has('stubbed') && !has('waking');
}

/** A newer format is read too, so that the error says so instead of calling it damaged. */
function isReadable(data: Buffer, snapshot: string): boolean {
  try {
    decodeManifest(data, snapshot);
    return true;
  } catch (error) {
    return error instanceof NewerFormatError;
  }
}

/** A newer format hides an older one. */
function revisionOf(data: Buffer, snapshot: string): number {
  try {
    return decodeManifest(data, snapshot).revision;
  } catch (error) {
    if (error instanceof ParsError) return Infinity;
    throw error;
  }
}

function byGuestAndSequence(a: SnapshotEntry, b: SnapshotEntry): number {
  const sequence = (entry: SnapshotEntry): number =>
    entry.condition === 'whole' ? entry.manifest.sequence : 0;
  return (
    guestOf(a.snapshot).localeCompare(guestOf(b.snapshot))
    || sequence(a) - sequence(b)
    || a.snapshot.localeCompare(b.snapshot)
  );
}

function noSuchSnapshot(snapshot: string, cause?: unknown): ParsError {
  return new ParsError('missing', `there is no snapshot ${snapshot}`, {
    hint: 'see: pars list',
    ...(cause === undefined ? {} : { cause }),
  });
}
