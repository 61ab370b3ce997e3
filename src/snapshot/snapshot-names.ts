// SPDX-License-Identifier: Apache-2.0
/** Names of snapshots: UUID/TIME-RANDOM. A domain's name is never part of one (R23). */
import { randomBytes } from 'node:crypto';
import { ParsError } from '../errors.js';
import { isUuid } from '../system/uuid.js';

const TIME_RANDOM = /^\d{8}T\d{6}Z-[0-9a-f]{8}$/;

export function isSnapshotName(text: string): boolean {
  const [uuid = '', rest = '', ...more] = text.split('/');
  return more.length === 0 && isUuid(uuid) && TIME_RANDOM.test(rest);
}

/**
 * A new name for a snapshot of the domain `uuid`. The time is for people; order is the manifest's sequence
 * number.
 */
export function newSnapshotName(uuid: string, now = new Date()): string {
  const time = now
    .toISOString()
    .replace(/[-:]/g, '')
    .replace(/\.\d+Z$/, 'Z');
  const name = `${uuid.toLowerCase()}/${time}-${randomBytes(4).toString('hex')}`;
  if (!isSnapshotName(name)) throw new ParsError('internal', `${JSON.stringify(uuid)} is not a UUID`);
  return name;
}

/** UUID of the domain that a snapshot is of. */
export function guestOf(snapshot: string): string {
  return snapshot.slice(0, snapshot.indexOf('/'));
}

/** Path in the store of one of a snapshot's objects. */
export function objectPath(snapshot: string, object: string): string {
  if (!isSnapshotName(snapshot))
    throw new ParsError('usage', `${JSON.stringify(snapshot)} is not the name of a snapshot`, {
      hint: 'see: pars list',
    });
  return `${snapshot}/${object}`;
}

/** The full name of a snapshot, or a guest's UUID for its latest. */
export function isStoredName(text: string): boolean {
  return isUuid(text) || isSnapshotName(text);
}
