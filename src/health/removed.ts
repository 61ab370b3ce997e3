// SPDX-License-Identifier: Apache-2.0
/** Whether a snapshot that was listed has been removed since: pruned, or by `pars rm`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ParsError } from '../errors.js';
import { MANIFEST_NAME } from '../snapshot/snapshots.js';
import type { Store } from '../stores/store.js';

/** A removal takes the manifest first, and is through with the rest of a large snapshot in seconds. */
const REMOVAL_MS = 30_000;
const POLL_MS = 250;

/**
 * Taken for removed is a snapshot of which nothing at all is listed any more, while every place of the store
 * is there. Where only the manifest is gone, the end of a removal is waited for; what stays may have lost it
 * to a disk. That, and what cannot be looked at, is not taken for removed. A disk that loses all of a
 * snapshot at once, in each place, looks like a removal: nothing tells them apart.
 */
export async function isRemoved(
  store: Store,
  snapshot: string,
  { removalMs = REMOVAL_MS, signal }: { removalMs?: number; signal?: AbortSignal },
): Promise<boolean> {
  const until = performance.now() + removalMs;
  try {
    for (;;) {
      const left = await store.list(snapshot);
      if (left.includes(MANIFEST_NAME) || !(await isComplete(store))) return false;
      // Once more: a place may have been missing until now.
      if (left.length === 0) return (await store.list(snapshot)).length === 0;
      if (performance.now() >= until) return false;
      await sleep(POLL_MS, undefined, { signal });
    }
  } catch (error) {
    if (error instanceof ParsError && error.kind !== 'internal') return false;
    throw error;
  }
}

/** Whether every place of the store is there: what is not listed then is gone. */
export async function isComplete(store: Store): Promise<boolean> {
  const { usablePlaces, places } = await store.status();
  return usablePlaces >= places;
}
