// SPDX-License-Identifier: Apache-2.0
/**
 * One repair of a snapshot at a time, over all hosts: `repair-lock-N` in the snapshot, created exclusively
 * (docs/format.md). Two would each write an index and a manifest, and the later one would name objects that
 * the earlier one has removed.
 */
import * as z from 'zod';
import { bestEffort } from '../system/best-effort.js';
import { ParsError } from '../errors.js';
import type { Host } from '../system/host.js';
import { processStart } from '../system/process-start.js';
import { objectPath } from '../snapshot/snapshots.js';
import type { Store } from '../stores/store.js';

const NAME = /^repair-lock-(\d{1,6})$/;
/** Another host's lock that is older was left by a repair that was killed: none takes so long. */
const ABANDONED_MS = 86_400_000;
const COPIES = 1;

const schema = z.object({
  machineId: z.string(),
  host: z.string(),
  time: z.string(),
  pid: z.int(),
  processStart: z.string(),
});
type Lock = z.infer<typeof schema>;

/**
 * Does `work` while no other repair of the snapshot is under way; throws 'busy', naming the other, if one is.
 */
export async function whileLocked<T>(
  store: Store,
  snapshot: string,
  host: Host | null,
  work: () => Promise<T>,
): Promise<T> {
  const earlier = await locksOf(store, snapshot);
  for (const name of earlier) await refuseHeld(store, snapshot, name, host);
  const mine = `repair-lock-${1 + Math.max(0, ...earlier.map(numberOf))}`;
  if (!(await store.createExclusive(objectPath(snapshot, mine), encode(host), { copies: COPIES })))
    throw busy(snapshot, null);
  try {
    // Who found the locks of killed repairs at another moment may have counted on from another number.
    for (const name of await locksOf(store, snapshot))
      if (name !== mine && !earlier.includes(name)) throw busy(snapshot, await read(store, snapshot, name));
    for (const name of earlier) await remove(store, snapshot, name);
    return await work();
  } finally {
    await remove(store, snapshot, mine);
  }
}

async function locksOf(store: Store, snapshot: string): Promise<string[]> {
  return (await store.list(snapshot)).filter((name) => NAME.test(name));
}

function numberOf(name: string): number {
  return Number(NAME.exec(name)?.[1] ?? 0);
}

async function refuseHeld(store: Store, snapshot: string, name: string, host: Host | null): Promise<void> {
  const lock = await read(store, snapshot, name);
  if (lock !== null && (await isHeld(store, objectPath(snapshot, name), lock, host)))
    throw busy(snapshot, lock);
}

/** On this host the process tells; a lock of this very process is one it could not remove. */
async function isHeld(store: Store, object: string, lock: Lock, host: Host | null): Promise<boolean> {
  if (lock.pid === process.pid && lock.processStart === processStart(process.pid)) return false;
  if (lock.machineId === host?.machineId) return processStart(lock.pid) === lock.processStart;
  const age = await store.age?.(object).catch((error: unknown) => {
    // Let go of just now: whoever asks again finds it free.
    if (error instanceof ParsError && error.kind === 'missing') return 0;
    throw error;
  });
  return age === undefined || age < ABANDONED_MS;
}

/**
 * Null when it is gone, or cannot be read: a repair that is killed while it locks leaves nothing that makes
 * sense.
 */
async function read(store: Store, snapshot: string, name: string): Promise<Lock | null> {
  try {
    return schema.parse(
      JSON.parse((await store.readWhole(objectPath(snapshot, name), () => true)).toString()),
    );
  } catch (error) {
    if (error instanceof ParsError && error.kind !== 'missing' && error.kind !== 'corrupt') throw error;
    return null;
  }
}

async function remove(store: Store, snapshot: string, name: string): Promise<void> {
  await bestEffort(store.remove(objectPath(snapshot, name)));
}

function encode(host: Host | null): Buffer {
  const lock: Lock = {
    machineId: host?.machineId ?? '',
    host: host?.host ?? '',
    time: new Date().toISOString(),
    pid: process.pid,
    processStart: processStart(process.pid) ?? '',
  };
  return Buffer.from(`${JSON.stringify(lock)}\n`);
}

function busy(snapshot: string, lock: Lock | null): ParsError {
  const who =
    lock === null ? '' : `: ${lock.host} (${lock.machineId}), process ${lock.pid}, since ${lock.time}`;
  return new ParsError('busy', `${snapshot} is being repaired by another pars process${who}`, {
    hint:
      'try again when it is through; a lock whose process is gone, or of another host and a day '
      + 'old, does not count',
  });
}
