// SPDX-License-Identifier: Apache-2.0
/**
 * What happens to a snapshot after it is stored: stubbed, resumed by a host, consumed by a start (R25, R27).
 */
import { ParsError } from '../errors.js';
import { isComplete } from '../health/removed.js';
import type { Host } from '../system/host.js';
import type { Manifest } from '../snapshot/manifest.js';
import {
  listSnapshots,
  ownerOf,
  readManifest,
  readState,
  readTakeover,
  stateObject,
  takeoverObject,
  takeoversIn,
  wasDiscarded,
  type SnapshotEntry,
  type State,
} from '../snapshot/snapshots.js';
import { encodeStateRecord, readStateRecord, type StateRecord } from '../snapshot/state-record.js';
import type { Store } from '../stores/store.js';
import { liveStub } from '../image/live-stubs.js';
import { isThere } from '../system/absence.js';
import { shellWord } from '../system/shell-word.js';
import type { KnownStub, StubRegistry } from '../image/stub-registry.js';

/**
 * One copy is enough to begin with: a state is noted wherever the store can be written,
 * and a guest must be able to resume when a place is gone.
 */
const COPIES = 1;

/** Notes that a snapshot reached a state; false when that was noted before. */
export async function markState(
  store: Store,
  manifest: Manifest,
  state: State,
  host: Host,
): Promise<boolean> {
  return store.createExclusive(
    stateObject(manifest.snapshot, state),
    encodeStateRecord(host, manifest.token),
    { copies: COPIES },
  );
}

/**
 * Throws 'refused' for a snapshot whose guest was started from it and has moved on.
 * @param host null where nobody can tell which host this is
 */
export async function refuseConsumed(store: Store, manifest: Manifest, host: Host | null): Promise<void> {
  const { snapshot, domain } = manifest;
  if ((await readState(store, snapshot)) !== 'consumed') return;
  const record = readStateRecord(store, stateObject(snapshot, 'consumed'), host ?? undefined);
  const started = await record.catch((error: unknown) => {
    if (error instanceof ParsError) return null;
    throw error;
  });
  const isHere = started !== null && started.machineId === host?.machineId;
  const where = isHere || started === null ? '' : ` on ${started.host} (${started.machineId})`;
  const drop =
    `drop the saved state with "virsh managedsave-remove ${shellWord(domain.name)}" and start the guest `
    + 'without it; to write the image all the same: --force';
  throw new ParsError(
    'refused',
    `the guest ${domain.name} has been started${where} since ${snapshot} was taken, so its disk has moved on`,
    {
      hint: isHere
        ? `resuming this memory would damage its file systems: ${drop}`
        : 'it may be running there: a guest must not run twice, and resuming this memory would damage its '
          + `file systems; if it is to run here, shut it down there first, then ${drop}`,
    },
  );
}

/**
 * Claims a snapshot for this host before it is resumed (R27): the exclusive create decides between two hosts
 * that come at the same time. The same host may claim again; for another host's claim `pars takeover` is
 * needed. A store that can be read but not written keeps no guest from resuming on the host that stored it,
 * but no other host may resume it then: nobody could be told of it.
 */
export async function claimWaking(store: Store, manifest: Manifest, host: Host): Promise<void> {
  const claimed = await markState(store, manifest, 'waking', host).catch(async (error: unknown) => {
    if (!(error instanceof ParsError) || manifest.owner.machineId !== host.machineId) throw error;
    // While it was tried in vain another host may have claimed it, which can be read.
    return !(await store.list(manifest.snapshot)).includes('state-waking');
  });
  const holder = await holderOf(store, manifest, claimed ? null : 'waking', host);
  if (holder !== null && holder.machineId !== host.machineId)
    throw claimedElsewhere(manifest.snapshot, holder);
}

/**
 * Claims a snapshot although another host holds it, or a start has consumed it: what was resumed by force is
 * noted like any other resume, so that no third host takes it for free. A store that cannot be written does
 * not stop it: force is for the day when much is broken.
 */
export async function claimByForce(store: Store, manifest: Manifest, host: Host): Promise<void> {
  try {
    await markState(store, manifest, 'waking', host);
    const holder = await holderOf(store, manifest, 'waking', host);
    if (holder?.machineId !== host.machineId)
      await takeNext(store, manifest, await store.list(manifest.snapshot), host);
  } catch (error) {
    if (!isOfStore(error)) throw error;
  }
}

/** Not another host's that was first. */
const isOfStore = (error: unknown): boolean =>
  error instanceof ParsError && error.kind !== 'busy' && error.kind !== 'internal';

/**
 * Claims a memory that its guest was started without, before it is put back. It is known as unused until it
 * is: one that is 'waking' as well was used by that start. A takeover claims it as well as that would, and
 * whatever ends the attempt, another can be made.
 */
export async function claimDiscarded(
  store: Store,
  manifest: Manifest,
  host: Host,
  { force }: { force: boolean },
): Promise<void> {
  const objects = await store.list(manifest.snapshot);
  const holder = await readTakeover(store, manifest.snapshot, objects, host);
  if (holder?.machineId === host.machineId) return;
  if (holder !== null && !force) throw claimedElsewhere(manifest.snapshot, holder);
  await takeNext(store, manifest, objects, host).catch(async (error: unknown) => {
    if (!isOfStore(error) || !(force || manifest.owner.machineId === host.machineId)) throw error;
    const first = force ? null : await holderOf(store, manifest, null, host);
    if (first !== null && first.machineId !== host.machineId)
      throw claimedElsewhere(manifest.snapshot, first);
  });
}

/**
 * Who holds a snapshot: the last takeover, else the first claim, if there is one. For each of two hosts that
 * have claimed it on different disks it is the other: neither resumes the guest, and a takeover settles it.
 */
async function holderOf(
  store: Store,
  { snapshot }: Manifest,
  claim: 'waking' | null,
  reader: Pick<Host, 'machineId'>,
): Promise<StateRecord | null> {
  const takeover = await readTakeover(store, snapshot, await store.list(snapshot), reader);
  if (takeover !== null || claim === null) return takeover;
  return readStateRecord(store, stateObject(snapshot, claim), reader);
}

/** Whether a snapshot is this host's, and no other host has claimed it. */
export async function isHeldHere(
  store: Store,
  entry: SnapshotEntry & { condition: 'whole' },
  host: Host,
): Promise<boolean> {
  const holder = await holderOf(store, entry.manifest, entry.state === 'waking' ? 'waking' : null, host);
  return [ownerOf(entry), holder ?? ownerOf(entry)].every(({ machineId }) => machineId === host.machineId);
}

/** Takes this host's claim back: what was resumed is a stub again. One of another host stays. */
export async function unclaim(store: Store, manifest: Manifest, host: Host): Promise<void> {
  if ((await readState(store, manifest.snapshot)) !== 'waking') return;
  const holder = await holderOf(store, manifest, 'waking', host);
  if (holder?.machineId === host.machineId) await store.remove(stateObject(manifest.snapshot, 'waking'));
}

export interface Takeover {
  snapshot: string;
  /** False: it was this host's already. */
  taken: boolean;
  /** Whose it was. `since`: when that host claimed it; null when it only stored it. */
  before: { machineId: string; host: string; since: string | null };
}

/**
 * Makes a snapshot this host's: claim and ownership. The caller has been told that the guest must not run
 * elsewhere. 'busy' when another host does the same right now.
 */
export async function takeOver(store: Store, snapshot: string, host: Host): Promise<Takeover> {
  const manifest = await readManifest(store, snapshot);
  const objects = await store.list(snapshot);
  if (!wasDiscarded(objects)) await refuseConsumed(store, manifest, host);
  const holder = await holderOf(store, manifest, objects.includes('state-waking') ? 'waking' : null, host);
  const before =
    holder === null
      ? { ...manifest.owner, since: null }
      : { machineId: holder.machineId, host: holder.host, since: holder.time };
  const owner = (await readTakeover(store, snapshot, objects, host)) ?? manifest.owner;
  if (owner.machineId === host.machineId && before.machineId === host.machineId)
    return { snapshot, taken: false, before };
  await takeNext(store, manifest, objects, host);
  return { snapshot, taken: true, before };
}

/** The takeover after those among `objects`; 'busy' when another host was first. */
async function takeNext(
  store: Store,
  { snapshot, token }: Manifest,
  objects: readonly string[],
  host: Host,
): Promise<void> {
  const taken = await store.createExclusive(
    takeoverObject(snapshot, takeoversIn(objects) + 1),
    encodeStateRecord(host, token),
    { copies: COPIES },
  );
  if (!taken)
    throw new ParsError('busy', `${snapshot} was taken over by another host just now`, {
      hint: 'see whose it is: pars list',
    });
}

function claimedElsewhere(snapshot: string, { host, machineId, time }: StateRecord): ParsError {
  return new ParsError(
    'refused',
    `${snapshot} was claimed by another host: ${host} (${machineId}), ${time}`,
    {
      hint:
        `a guest must not run twice; if it does not run there, and will not be started there: pars `
        + `takeover ${snapshot}`,
    },
  );
}

/**
 * Turns the starts that the hook noted into consumed snapshots: this host's managed saves of the guests that
 * started.
 * @param guest only the starts of this one, by its UUID
 */
export async function settleStarts(
  store: Store,
  registry: StubRegistry,
  host: Host,
  guest?: string,
): Promise<void> {
  await registry.settleStarts(guest, async (uuid) => {
    const known = await registry.all();
    const there = await listSnapshots(store, uuid);
    return async () => {
      for (const entry of there) await consumeStarted(store, registry, host, entry, known);
      const own = known.filter(({ domainUuid, managedSave }) => managedSave && domainUuid === uuid);
      for (const stub of own) await forgetUnfinished(store, registry, there, stub);
    };
  });
}

/** If it is a managed save of this host's guest. */
async function consumeStarted(
  store: Store,
  registry: StubRegistry,
  host: Host,
  entry: SnapshotEntry,
  known: readonly KnownStub[],
): Promise<void> {
  if (entry.condition !== 'whole' || !entry.manifest.image.managedSave) return;
  const { manifest } = entry;
  const stub = known.find(({ token }) => token === manifest.token);
  if (!stub && ownerOf(entry).machineId !== host.machineId) return;
  if (stub) await noteHowStarted(store, manifest, stub, host);
  if (entry.state !== 'consumed') await markState(store, manifest, 'consumed', host);
  if (stub) await afterStart(registry, stub);
}

/**
 * Of an offload that was killed before it had stored everything: its guest was started from the whole image,
 * and nobody misses a stub. A snapshot that only looks so while a place of the store is missing may have had
 * one.
 */
async function forgetUnfinished(
  store: Store,
  registry: StubRegistry,
  there: readonly SnapshotEntry[],
  stub: KnownStub,
): Promise<void> {
  const entry = there.find(({ snapshot }) => snapshot === stub.snapshot);
  if ((entry !== undefined && entry.condition !== 'incomplete') || (await isThere(stub.image))) return;
  if (await isComplete(store)) await registry.add({ ...stub, consumed: true });
}

/**
 * A stub that was never refilled cannot have been what its guest was started from: then the snapshot loses
 * the claim that a failed refill may have left, and is known as discarded.
 */
async function noteHowStarted(store: Store, manifest: Manifest, stub: KnownStub, host: Host): Promise<void> {
  if (stub.refilled === undefined) await unclaim(store, manifest, host);
  else await markState(store, manifest, 'waking', host);
}

async function afterStart(registry: StubRegistry, stub: KnownStub): Promise<void> {
  if (await liveStub(registry, stub)) await registry.add({ ...stub, consumed: true });
  else await (stub.refilled === undefined ? registry.discard(stub) : registry.remove(stub));
}
