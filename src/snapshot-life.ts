/** What happens to a snapshot after it is stored: stubbed, woken by a host, consumed by a start (R25, R27). */
import { ParsError } from './errors.js';
import type { Host } from './host.js';
import type { Manifest } from './manifest.js';
import { listSnapshots, readState, stateObject, type State } from './snapshots.js';
import type { Store } from './stores/store.js';
import type { StubRegistry } from './stub-registry.js';

/** A state as the store keeps it: who brought it about, and when. */
interface StateRecord {
  machineId: string;
  host: string;
  token: string;
  time: string;
}

/**
 * One copy is enough to begin with: a state is noted wherever the store can be written,
 * and a guest must be able to wake when a place is gone.
 */
const COPIES = 1;

/** Notes that a snapshot reached a state; false when that was noted before. */
export async function markState(store: Store, manifest: Manifest, state: State, host: Host): Promise<boolean> {
  const record: StateRecord = { ...host, token: manifest.token, time: new Date().toISOString() };
  return store.createExclusive(stateObject(manifest.snapshot, state), Buffer.from(`${JSON.stringify(record)}\n`), { copies: COPIES });
}

/** Throws 'refused' for a snapshot whose guest was started from it and has moved on. */
export async function refuseConsumed(store: Store, manifest: Manifest): Promise<void> {
  if ((await readState(store, manifest.snapshot)) !== 'consumed') return;
  throw new ParsError('refused', `the guest ${manifest.domain.name} has been started since ${manifest.snapshot} was taken, so its disk has moved on`, {
    hint: 'resuming this memory would damage its file systems; to write the image all the same: --force',
  });
}

/**
 * Claims a snapshot for this host before it is woken. The same host may claim again; another host's claim is refused.
 * A store that cannot be written, but can be read, does not keep a guest from waking.
 */
export async function claimWaking(store: Store, manifest: Manifest, host: Host): Promise<void> {
  const claimed = await markState(store, manifest, 'waking', host).catch((error: unknown) => {
    if (error instanceof ParsError) return true;
    throw error;
  });
  if (claimed) return;
  const owner = await readRecord(store, stateObject(manifest.snapshot, 'waking'));
  if (owner === null || owner.machineId === host.machineId) return;
  throw new ParsError('refused', `${manifest.snapshot} was woken by another host: ${owner.host} (${owner.machineId}), ${owner.time}`, {
    hint: 'a guest must not run twice; if it does not run there, use: pars hydrate --force IMAGE',
  });
}

/** Turns the starts that the hook noted into consumed snapshots: this host's managed saves of the guests that started. */
export async function settleStarts(store: Store, registry: StubRegistry, host: Host): Promise<void> {
  await registry.settleStarts(async (uuid) => {
    const known = await registry.all();
    for (const entry of await listSnapshots(store, uuid)) {
      if (entry.condition !== 'whole' || !entry.manifest.image.managedSave) continue;
      const { manifest } = entry;
      const stub = known.find(({ token }) => token === manifest.token);
      if (!stub && manifest.owner.machineId !== host.machineId) continue;
      if (entry.state !== 'consumed') await markState(store, manifest, 'consumed', host);
      if (stub) await registry.remove(stub);
    }
  });
}

async function readRecord(store: Store, object: string): Promise<StateRecord | null> {
  try {
    return JSON.parse((await store.readWhole(object, isRecord)).toString()) as StateRecord;
  } catch (error) {
    if (error instanceof ParsError) return null;
    throw error;
  }
}

function isRecord(data: Buffer): boolean {
  try {
    const record = JSON.parse(data.toString()) as Partial<StateRecord>;
    return typeof record.machineId === 'string' && typeof record.host === 'string' && typeof record.time === 'string';
  } catch {
    return false;
  }
}
