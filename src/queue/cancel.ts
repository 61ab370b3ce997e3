// SPDX-License-Identifier: Apache-2.0
/** Ends the refills of a guest, whoever runs them: its stub stays. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ParsError } from '../errors.js';
import { cancelJob, forgetJob, type Job, readJobs } from '../journal/jobs.js';
import { steadyMs } from '../system/steady-clock.js';
import { guestOfImage } from './guest-saves.js';

export interface Cancel {
  stateDir: string;
  /** Name or UUID. */
  guest: string;
  signal: AbortSignal;
  /** How long a process is given to end the refill itself; then it is killed. */
  patienceMs?: number;
}

export interface CancelledRefill {
  image: string;
  /** False: it was done before it could be cancelled. */
  cancelled: boolean;
}

const PATIENCE_MS = 10_000;
const LOOK_MS = 100;

export async function cancelRefills(cancel: Cancel): Promise<CancelledRefill[]> {
  const running: Job[] = [];
  for (const job of await refillsIn(cancel.stateDir)) if (await isOf(job, cancel)) running.push(job);
  if (running.length === 0)
    throw new ParsError('missing', `no refill of a guest ${cancel.guest} is under way`, {
      hint: 'see what is: pars status',
    });
  return Promise.all(running.map((job) => end(job, cancel)));
}

async function refillsIn(stateDir: string): Promise<Job[]> {
  return (await readJobs(stateDir)).filter(({ kind, state }) => kind === 'hydrate' && state === 'running');
}

/** The header of the image tells, of a stub too. One that went away meanwhile is nobody's. */
async function isOf({ image }: Job, { guest, signal }: Cancel): Promise<boolean> {
  const found = await guestOfImage(image, signal);
  return found !== null && (found.name === guest || found.uuid === guest.toLowerCase());
}

/**
 * A process that does not listen, since it was stopped or hangs in a read, is killed: at every instant the
 * file is a stub or whole (R17).
 */
async function end(
  job: Job,
  { stateDir, signal, patienceMs = PATIENCE_MS }: Cancel,
): Promise<CancelledRefill> {
  await cancelJob(stateDir, job);
  const killAt = steadyMs() + patienceMs;
  for (let killed = false; ; await sleep(LOOK_MS, undefined, { signal })) {
    const now = (await refillsIn(stateDir)).find((one) => isSame(one, job));
    if (now === undefined) break;
    if (killed || steadyMs() < killAt) continue;
    process.kill(job.pid, 'SIGKILL');
    killed = true;
  }
  const left = (await readJobs(stateDir)).find((one) => isSame(one, job));
  if (left?.state === 'interrupted') await forgetJob(stateDir, left);
  return { image: job.image, cancelled: left?.state !== 'done' };
}

function isSame(one: Job, { kind, image, pid, began }: Job): boolean {
  return one.kind === kind && one.image === image && one.pid === pid && one.began === began;
}
