// SPDX-License-Identifier: Apache-2.0
/**
 * Retention without anybody's help: after its run the worker removes from the store what is due, and when an
 * offload finds the store full, what starts have consumed goes before its time.
 */
import type { Retention } from '../policy/config.js';
import { ParsError } from '../errors.js';
import { noteTidied, readTidied, type Tidied } from '../journal/tidied.js';
import { prune, type PrunePlace, type Pruning, type Removable } from '../lifecycle/prune.js';
import { counted } from '../system/counted.js';
import { HostDiskFull } from '../system/disk-space.js';
import { orTellSystem } from '../system/system-log.js';

export interface TidyPlace extends PrunePlace {
  stateDir: string;
  retention: Retention;
}

/** A look at a large store takes its time: after each run of the worker would be too often. */
const EVERY_MS = 600_000;

/** After a run of the worker; null when it is not time yet, or nothing is to be removed by itself. */
export async function tidyAfterRun(place: TidyPlace): Promise<Pruning | null> {
  const { automatic, consumedMs, orphanGraceMs } = place.retention;
  const last = await readTidied(place.stateDir);
  const age = last === null ? Infinity : Date.now() - Date.parse(last.time);
  if (age >= 0 && age < Math.min(EVERY_MS, consumedMs, orphanGraceMs)) return null;
  return pruneAndNote(place, { yes: automatic });
}

/** Makes room in a store that is full; null when nothing could go. */
export async function makeRoom(place: TidyPlace): Promise<Pruning | null> {
  if (!place.retention.automatic) return null;
  const pruning = await pruneAndNote(place, { yes: true, pressed: true });
  return pruning.removed.length > 0 ? pruning : null;
}

/** The error of a store that is full says what could go, if that can be seen; any other stays as it is. */
export async function sayingWhatCouldGo(error: unknown, place: PrunePlace): Promise<unknown> {
  if (!isFull(error)) return error;
  const [looked] = await Promise.allSettled([prune(place, { yes: false })]);
  if (looked.status === 'rejected') return error;
  const { due, dueBytes, later, laterBytes } = summary(looked.value);
  if (due + later === 0) return error;
  const could =
    `no guest needs ${counted(due + later, 'snapshot')} in the store, ${mebibytes(dueBytes + laterBytes)}; `
    + `${due} of them may go now: pars prune`;
  const hint = error.hint === undefined ? could : `${could}; ${error.hint}`;
  return new ParsError(error.kind, error.message, { hint, cause: error });
}

/** What is removed from a store makes no room on a full disk of this host. */
export function isFull(error: unknown): error is ParsError {
  if (!(error instanceof ParsError) || error.kind !== 'no-space') return false;
  for (let why: unknown = error; why instanceof Error; why = why.cause)
    if (why instanceof HostDiskFull) return false;
  return true;
}

async function pruneAndNote(place: TidyPlace, how: { yes: boolean; pressed?: boolean }): Promise<Pruning> {
  const pruning = await prune(place, how);
  await orTellSystem(noteTidied(place.stateDir, summary(pruning)), 'what was pruned could not be noted');
  return pruning;
}

export function summary({ removable, removed }: Pruning): Tidied {
  const gone = new Set(removed);
  const left = removable.filter(({ snapshot }) => !gone.has(snapshot));
  const due = left.filter(({ dueInMs }) => dueInMs === 0);
  // Not those that no age makes go: an orphan is the only copy of a guest's memory.
  const later = left.filter(({ dueInMs }) => dueInMs !== null && dueInMs > 0);
  return {
    time: new Date().toISOString(),
    removed: removed.length,
    removedBytes: bytesOf(removable.filter(({ snapshot }) => gone.has(snapshot))),
    due: due.length,
    dueBytes: bytesOf(due),
    later: later.length,
    laterBytes: bytesOf(later),
  };
}

function bytesOf(found: readonly Removable[]): number {
  return found.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
}

const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;
