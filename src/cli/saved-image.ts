// SPDX-License-Identifier: Apache-2.0
/** The offload of an image that a command has just had libvirt save. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ParsError } from '../errors.js';
import { StubRegistry } from '../image/stub-registry.js';
import { readJobs } from '../journal/jobs.js';
import type { Offloaded } from '../lifecycle/offload-request.js';
import { offloadAsJob } from '../queue/image-job.js';
import { Pace } from '../queue/pace.js';
import { thisHost } from '../system/host.js';
import { realPathOf } from '../system/real-path.js';
import type { Context } from './context.js';
import { publishMetrics } from './metrics-file.js';
import { openOrPublish } from './queue-run.js';

/** How often another pars that works on the image is asked after. */
const OTHERS_MS = 250;

export interface SavedImage {
  image: string;
  managedSave: boolean;
  policyIsFixed: boolean;
}

/**
 * Offloads an image. A worker that the hook, or a watch, has called may have it already: then this waits, and
 * says what that one made of it.
 */
export async function offloadSaved(context: Context, saved: SavedImage): Promise<Offloaded> {
  const { managedSave, policyIsFixed } = saved;
  const image = await realPathOf(saved.image);
  const store = await openOrPublish(context);
  const { stateDir, policy, diskReferences, queue } = await context.config();
  const { signal } = context;
  const place = { store, host: thisHost(), registry: new StubRegistry(stateDir) };
  const pace = new Pace({ stateDir, bandwidth: queue.bandwidth, signal });
  const terms = { policy, policyIsFixed, diskReferences, keepLocal: false, force: false, managedSave };
  const job = { ...terms, stateDir, pace, byHand: true, signal, onProgress: await context.progress() };
  try {
    for (;;) {
      if (!(await isWorkedOn(stateDir, image))) {
        const outcome = await offloadAsJob(image, place, job).catch(ifBusy);
        if (!(outcome instanceof ParsError)) return outcome;
        if (!(await isWorkedOn(stateDir, image))) throw outcome;
      }
      await sleep(OTHERS_MS, undefined, { signal });
    }
  } finally {
    await store.close();
    await publishMetrics(context);
  }
}

async function isWorkedOn(stateDir: string, image: string): Promise<boolean> {
  return (await readJobs(stateDir)).some((job) => job.image === image && job.state === 'running');
}

function ifBusy(error: unknown): ParsError {
  if (error instanceof ParsError && error.kind === 'busy') return error;
  throw error;
}
