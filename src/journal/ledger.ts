// SPDX-License-Identifier: Apache-2.0
/**
 * What this host has done, guest by guest, for monitoring: STATE/ledger.json. Counters only grow. It is a
 * note beside the work, so none of this throws: an image matters more than its statistics.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseJson } from '../system/json-text.js';
import { bestEffort } from '../system/best-effort.js';
import { readIfThere } from '../system/absence.js';
import { writeAtomically } from '../system/atomic-file.js';
import { steadyMs } from '../system/steady-clock.js';
import { type ErrorKind, ParsError } from '../errors.js';
import { native } from '../native.js';
import type { PageClass } from '../page-classes.js';

export type Work = 'offload' | 'hydrate';

/** The last success of a kind of work on a guest. */
export interface Success {
  /** ISO 8601. */
  time: string;
  seconds: number;
  imageBytes: number;
}

export interface OffloadSuccess extends Success {
  snapshot: string;
  /** Over all copies. */
  storedBytes: number;
  freedBytes: number;
  criticalCopies: number;
  /** Over all copies. */
  classes: Partial<Record<PageClass, number>>;
  /** Pages that the guest's own disks hold; absent in notes of earlier versions. */
  diskBytes?: number;
}

export interface GuestLedger {
  name: string;
  offloads: number;
  hydrates: number;
  offload: OffloadSuccess | null;
  hydrate: Success | null;
}

export interface Ledger {
  guests: Record<string, GuestLedger>;
  failures: Record<Work, Partial<Record<ErrorKind, number>>>;
}

const LOCK_MS = 2000;
const POLL_MS = 20;

export async function readLedger(stateDir: string): Promise<Ledger> {
  const empty: Ledger = { guests: {}, failures: { offload: {}, hydrate: {} } };
  const path = join(stateDir, 'ledger.json');
  const text = await readIfThere(path);
  if (text === null) return empty;
  const ledger = parseJson(text) as Ledger | undefined;
  if (typeof ledger === 'object' && ledger !== null) return { ...empty, ...ledger };
  throw new ParsError('corrupt', `${path}, what this host has counted, is damaged`, {
    hint: 'move it away: the counters begin again at 0',
  });
}

export async function countOffload(
  stateDir: string,
  guest: { uuid: string; name: string },
  success: OffloadSuccess,
): Promise<void> {
  await change(stateDir, (ledger) => {
    const entry = entryOf(ledger, guest);
    Object.assign(entry, { offloads: entry.offloads + 1, offload: success });
  });
}

export async function countHydrate(
  stateDir: string,
  guest: { uuid: string; name: string },
  success: Success,
): Promise<void> {
  await change(stateDir, (ledger) => {
    const entry = entryOf(ledger, guest);
    Object.assign(entry, { hydrates: entry.hydrates + 1, hydrate: success });
  });
}

export async function countFailure(stateDir: string, work: Work, kind: ErrorKind): Promise<void> {
  await change(stateDir, ({ failures }) => {
    failures[work][kind] = (failures[work][kind] ?? 0) + 1;
  });
}

function entryOf(ledger: Ledger, { uuid, name }: { uuid: string; name: string }): GuestLedger {
  const entry = (ledger.guests[uuid] ??= { name, offloads: 0, hydrates: 0, offload: null, hydrate: null });
  entry.name = name;
  return entry;
}

/**
 * Several processes count at once: one after the other, or not at all. If it fails the count is lost, not
 * the work.
 */
async function change(stateDir: string, edit: (ledger: Ledger) => void): Promise<void> {
  await bestEffort(changeLocked(stateDir, edit));
}

async function changeLocked(stateDir: string, edit: (ledger: Ledger) => void): Promise<void> {
  const lock = await open(join(stateDir, 'ledger.lock'), 'a', 0o600);
  try {
    const end = steadyMs() + LOCK_MS;
    while (!native().tryLock(lock.fd)) {
      if (steadyMs() >= end) return;
      await sleep(POLL_MS);
    }
    const ledger = await readLedger(stateDir);
    edit(ledger);
    await writeAtomically(join(stateDir, 'ledger.json'), `${JSON.stringify(ledger)}\n`);
  } finally {
    await lock.close();
  }
}
