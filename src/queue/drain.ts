// SPDX-License-Identifier: Apache-2.0
/**
 * Works off the queue of managed saves, as the worker does after a save and `pars drain` before a shutdown.
 */
import { statfs } from 'node:fs/promises';
import { ifThere } from '../system/absence.js';
import { ParsError } from '../errors.js';
import { settleStarts } from '../lifecycle/claims.js';
import type { OffloadPlace } from '../lifecycle/offload-request.js';
import type { QueueLimits, Retention } from '../policy/config.js';
import { forgetFinishedSave } from '../journal/finished-saves.js';
import { isManagedSave, tellHook } from '../status/save-places.js';
import { type ImageJob, offloadAsJob } from './image-job.js';
import { ProbeMemory } from '../image/probe-memory.js';
import { HoldBack } from './hold-back.js';
import { isFull, makeRoom, sayingWhatCouldGo, tidyAfterRun, type TidyPlace } from './tidy.js';
import type { Pruning } from '../lifecycle/prune.js';
import { Pace } from './pace.js';
import { offloadPending, type PendingOutcome } from './pending.js';

/** Told as it happens. Nothing of it ends the run. */
export interface DrainListener {
  offloaded(image: string, domain: string): void;
  /** The image stays in the queue. */
  failed(image: string, error: unknown): void;
  /** For a while; it is taken when that is over. */
  heldBack(image: string, reason: string): void;
  startsNotNoted(error: Error): void;
  /** Removed from the store. */
  pruned(pruning: Pruning): void;
  /** What is due stays for another time. */
  notPruned(error: ParsError): void;
}

export interface Drain {
  saveDir: string;
  /** Of the configuration: directories whose finished saves are offloaded too. */
  watch: readonly string[];
  limits: QueueLimits;
  retention: Retention;
  place: OffloadPlace;
  job: Omit<ImageJob, 'managedSave' | 'keepLocal' | 'force' | 'pace' | 'byHand'>;
  /** The host goes down: no limit of bandwidth, the largest first, and another worker is waited for. */
  hurry: boolean;
  signal: AbortSignal;
  listener: DrainListener;
}

export async function drainQueue(drain: Drain): Promise<PendingOutcome> {
  const { limits, place, hurry, signal, listener } = drain;
  const { stateDir } = drain.job;
  const places = { stateDir, saveDir: drain.saveDir, watch: drain.watch };
  await tellHook(places);
  const pace = new Pace({ stateDir, bandwidth: hurry ? null : limits.bandwidth, signal });
  // Guests started since the last run: the store learns soon which memory must not be resumed again, also
  // when there is nothing to offload.
  await settleStarts(place.store, place.registry, place.host).catch((error: unknown) =>
    listener.startsNotNoted(error as Error),
  );
  const probes = new ProbeMemory();
  const sharing = { ...drain, place: { ...place, probes } };
  const outcome = await offloadPending({
    ...places,
    probes,
    offload: (image) => offloadNext(sharing, pace, image),
    signal,
    concurrency: limits.concurrency,
    patient: hurry,
    ...(!hurry && { holdBack: new HoldBack({ stateDir, settleMs: limits.settleMs }) }),
    heldBack: (image, reason) => listener.heldBack(image, reason),
    largestFirst: async () => hurry || (await isShortOfRoom(drain.saveDir, limits.freeSpaceFloor)),
  });
  if (!hurry && !signal.aborted) await tidy(drain, (at) => tidyAfterRun(at));
  return outcome;
}

/**
 * Null when nothing was removed, also because it could not be. That the store is not in order stops no run.
 */
async function tidy(
  { place, retention, job, listener }: Drain,
  work: (at: TidyPlace) => Promise<Pruning | null>,
): Promise<Pruning | null> {
  try {
    const pruning = await work({ ...place, retention, stateDir: job.stateDir });
    if (pruning !== null && pruning.removed.length > 0) listener.pruned(pruning);
    return pruning;
  } catch (error) {
    if (!(error instanceof ParsError)) throw error;
    listener.notPruned(error);
    return null;
  }
}

async function offloadNext(drain: Drain, pace: Pace, image: string): Promise<boolean> {
  const { saveDir, place, job, signal, listener } = drain;
  const managedSave = await isManagedSave(image, saveDir);
  const request = { ...job, managedSave, keepLocal: false, force: false, signal, pace, byHand: false };
  try {
    const { stub, domain } = await offloadAsJob(image, place, request).catch(async (error: unknown) => {
      // A full store: what starts have consumed goes before its time, and the image is tried once more.
      if (!isFull(error) || (await tidy(drain, makeRoom)) === null) throw error;
      return offloadAsJob(image, place, request);
    });
    // What a watch had noted is done: when it is resumed from, it is the guest's again.
    if (stub) await forgetFinishedSave(job.stateDir, image);
    listener.offloaded(image, domain);
    return stub;
  } catch (error) {
    listener.failed(image, await sayingWhatCouldGo(error, { ...place, retention: drain.retention }));
    return false;
  }
}

export async function isShortOfRoom(
  directory: string,
  floor: QueueLimits['freeSpaceFloor'],
): Promise<boolean> {
  const room = await ifThere(directory, (path) => statfs(path), null);
  if (room === null) return false;
  return room.bavail * room.bsize < ('bytes' in floor ? floor.bytes : room.blocks * room.bsize * floor.share);
}
