// SPDX-License-Identifier: Apache-2.0
/**
 * Claims that hosts with different disks have each written (R27): every copy makes sense, and they name
 * different hosts. Which of them counts is for people to say, by a takeover, and not for a repair.
 */
import { objectPath, takeoversIn } from '../snapshot/snapshots.js';
import { differingRecords, type StateRecord } from '../snapshot/state-record.js';
import type { Store } from '../stores/store.js';

const CLAIM = /^state-(?:waking|consumed|takeover-\d{1,6})$/;

/** The records of two hosts; null when all copies name the same one, or a later takeover has settled it. */
export async function disputedClaim(
  store: Store,
  snapshot: string,
  name: string,
): Promise<[StateRecord, StateRecord] | null> {
  if (!CLAIM.test(name) || (await isSettled(store, snapshot, name))) return null;
  return differingRecords(store, objectPath(snapshot, name));
}

/** A start cannot be settled: it was made. */
async function isSettled(store: Store, snapshot: string, name: string): Promise<boolean> {
  if (name === 'state-consumed') return false;
  return takeoversIn(await store.list(snapshot)) > takeoversIn([name]);
}

/** In words, without the snapshot's name. */
export function describeDispute(name: string, [one, other]: [StateRecord, StateRecord]): string {
  const said = ({ host, machineId, time }: StateRecord): string => `${host} (${machineId}), ${time}`;
  return `two hosts with different disks have each written ${name}: ${said(one)}; ${said(other)}`;
}
