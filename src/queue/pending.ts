// SPDX-License-Identifier: Apache-2.0
/**
 * The queue of offloads. It is the save directory itself: a whole managed-save image is work to do, so
 * nothing is lost by a kill or a reboot and nothing can be queued twice. One worker a host, a few images at a
 * time; the oldest first, or the largest while room is short.
 */
import { mkdir, open, readdir, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bestEffort } from '../system/best-effort.js';
import { codeOf, ifThere, isMissing } from '../system/absence.js';
import { ParsError } from '../errors.js';
import { dueImage, wholeSave, type WholeSave } from '../status/host-status.js';
import { allSaves, type SavePlaces } from '../status/save-places.js';
import { ImageFile } from '../image/image-file.js';
import { readJobs, type Job } from '../journal/jobs.js';
import { native } from '../native.js';
import type { HoldBack } from './hold-back.js';
import { ProbeMemory } from '../image/probe-memory.js';
import { steadyMs } from '../system/steady-clock.js';

export type { WholeSave } from '../status/host-status.js';

export interface PendingWork extends SavePlaces {
  concurrency: number;
  /** Whether the largest image is to go before the oldest; asked before each. */
  largestFirst(): Promise<boolean>;
  /** Offloads one image; its failures are its own to report. True when the image is a stub now. */
  offload(image: string): Promise<boolean>;
  /** Wait for another worker to come to its end, rather than leave the queue to it. */
  patient?: boolean;
  /** Which saves are left alone for a while; nothing is said of one twice. */
  holdBack?: HoldBack;
  heldBack?(image: string, reason: string): void;
  /** What is known of the images already. */
  probes?: ProbeMemory;
  signal?: AbortSignal;
}

export interface PendingOutcome {
  /** False: another worker has the queue, and takes what is in it. */
  worked: boolean;
  offloaded: string[];
  /** What is still whole, and why: also what the queue does not take. */
  left: WholeSave[];
}

const POLL_MS = 250;
/** What is held back is held back for seconds or minutes. */
const HELD_POLL_MS = 1000;
/**
 * An image that somebody has open (its guest is being started, a backup reads it) is waited for so long, when
 * nothing else is due.
 */
const IN_USE_MS = 30_000;

/**
 * Works the queue off, each image tried once. Images saved meanwhile are taken too, by us or by the worker
 * that comes after us.
 */
export async function offloadPending(request: PendingWork): Promise<PendingOutcome> {
  const work = { ...request, probes: request.probes ?? new ProbeMemory() };
  await refuseUnseen(work.saveDir);
  const queue = new Queue(work);
  const offloaded: string[] = [];
  let worked = false;
  // After the lock is given up the queue is looked at again: whoever saved meanwhile may have found the lock
  // taken.
  while (!work.signal?.aborted && (await queue.isDue())) {
    const lock = await takeLock(work.stateDir);
    if (lock === null && !work.patient) break;
    if (lock === null) {
      await pause(work.signal);
      continue;
    }
    worked = true;
    try {
      await Promise.all(Array.from({ length: work.concurrency }, () => workOff(work, queue, offloaded)));
    } finally {
      await lock.close();
    }
    // What is still due now is in the hands of somebody who asked for it by name.
    if (work.patient) await pause(work.signal);
  }
  return { worked, offloaded, left: await leftIn(work) };
}

async function workOff(work: PendingWork, queue: Queue, offloaded: string[]): Promise<void> {
  for (let image = await queue.next(); image !== null; image = await queue.next()) {
    if (await work.offload(image).finally(() => queue.finished())) offloaded.push(image);
  }
}

/** A directory that nobody can look into is not an empty one. */
async function refuseUnseen(saveDir: string): Promise<void> {
  await readdir(saveDir).catch((cause: NodeJS.ErrnoException) => {
    const hint = "name libvirt's directory of managed saves with --save-dir; root may read it";
    if (isMissing(cause)) throw new ParsError('missing', `there is no directory ${saveDir}`, { hint, cause });
    throw new ParsError('refused', `cannot read the directory ${saveDir}: ${cause.message}`, { hint, cause });
  });
}

/** What another process is offloading right now stays too, as far as the one knows who goes now. */
async function leftIn(places: PendingWork): Promise<WholeSave[]> {
  const jobs = await readJobs(places.stateDir);
  const others = jobs
    .filter(({ kind, state, pid }) => kind === 'offload' && state === 'running' && pid !== process.pid)
    .map(({ image }) => image);
  const left = await Promise.all(
    (await allSaves(places, jobs)).map(async (path) => {
      if (!others.includes(path)) return wholeSave(path, jobs, places.probes);
      const save = await wholeSave(path, [], places.probes);
      return save && { ...save, reason: 'another pars process is offloading it' };
    }),
  );
  return left.filter((save) => save !== null);
}

interface Candidate {
  image: string;
  /** One that was saved again counts as another. */
  key: string;
  bytes: bigint;
  mtimeNs: bigint;
}

/** The images of a worker's run: which were tried, which are none of its business. */
class Queue {
  readonly #work: PendingWork;
  readonly #tried = new Set<string>();
  readonly #notDue = new Set<string>();
  /** Until when those that somebody has open are waited for. */
  #patience: number | null = null;
  /**
   * Images handed out and not finished: as long as there are any, others may be saved, and all hands stay.
   */
  #active = 0;
  readonly #said = new Set<string>();
  #picking: Promise<unknown> = Promise.resolve();

  constructor(work: PendingWork) {
    this.#work = work;
  }

  /** Whether anything is left to be tried, by us or by whoever works on it now. */
  async isDue(): Promise<boolean> {
    const jobs = await readJobs(this.#work.stateDir);
    for (const { image } of await this.#candidates(jobs))
      if ((await dueImage(image, this.#work.patient ? [] : jobs, this.#work.probes)) !== null) return true;
    return false;
  }

  /**
   * The image to go next, marked as tried; null when there is none, or it is time to stop. One caller at a
   * time.
   */
  next(): Promise<string | null> {
    const picked = this.#picking.then(() => this.#pick());
    this.#picking = bestEffort(picked);
    return picked;
  }

  finished(): void {
    this.#active--;
  }

  async #pick(): Promise<string | null> {
    while (!this.#work.signal?.aborted) {
      const { ready, inUse, held } = await this.#look();
      if (ready !== null) return this.#handOut(ready);
      if (inUse.length > 0) this.#patience ??= steadyMs() + IN_USE_MS;
      if (this.#patience !== null && steadyMs() >= this.#patience)
        for (const { key } of inUse) this.#tried.add(key);
      else if (inUse.length === 0 && this.#active === 0 && !held) return null;
      await pause(this.#work.signal, held ? HELD_POLL_MS : POLL_MS);
    }
    return null;
  }

  #handOut({ key, image }: Candidate): string {
    this.#tried.add(key);
    this.#patience = null;
    this.#active++;
    return image;
  }

  /**
   * The first image that is due and free, those before it that are due but open elsewhere, and whether there
   * are any that are held back.
   */
  async #look(): Promise<{ ready: Candidate | null; inUse: Candidate[]; held: boolean }> {
    const jobs = await readJobs(this.#work.stateDir);
    const inUse: Candidate[] = [];
    let held = false;
    for (const candidate of await this.#candidates(jobs)) {
      if ((await dueImage(candidate.image, jobs, this.#work.probes)) === null) {
        if (!jobs.some(({ image, state }) => image === candidate.image && state === 'running'))
          this.#notDue.add(candidate.key);
      } else if (await this.#isHeldBack(candidate, jobs)) held = true;
      else if (await isFree(candidate.image)) return { ready: candidate, inUse, held };
      else inUse.push(candidate);
    }
    return { ready: null, inUse, held };
  }

  async #isHeldBack({ image, key, mtimeNs }: Candidate, jobs: readonly Job[]): Promise<boolean> {
    const reason = await this.#work.holdBack?.reasonFor(
      { image, mtimeMs: Number(mtimeNs / 1_000_000n) },
      jobs,
    );
    if (reason === undefined || reason === null) return false;
    if (!this.#said.has(key)) this.#work.heldBack?.(image, reason);
    this.#said.add(key);
    return true;
  }

  async #candidates(jobs: readonly Job[]): Promise<Candidate[]> {
    const all = (await Promise.all((await allSaves(this.#work, jobs)).map(candidate))).filter(
      (one) => one !== null,
    );
    const open = all.filter(({ key }) => !this.#tried.has(key) && !this.#notDue.has(key));
    const order = await this.#order(jobs);
    return open.sort((a, b) => Number(order(a, b)));
  }

  /**
   * Guests are started in the order in which they were saved, as a rule: then the youngest is stored first.
   */
  async #order(jobs: readonly Job[]): Promise<(a: Candidate, b: Candidate) => bigint> {
    if (await this.#work.largestFirst()) return (a, b) => b.bytes - a.bytes;
    if (await this.#work.holdBack?.startsCome(jobs)) return (a, b) => b.mtimeNs - a.mtimeNs;
    return (a, b) => a.mtimeNs - b.mtimeNs;
  }
}

/** Null also when it cannot be looked at: that is told of what is left. */
async function candidate(image: string): Promise<Candidate | null> {
  const stats = await ifThere(image, (path) => stat(path, { bigint: true }), null).catch((error: unknown) => {
    if (error instanceof ParsError) return null;
    throw error;
  });
  return (
    stats && {
      image,
      key: `${image} ${stats.ino} ${stats.mtimeNs}`,
      bytes: stats.size,
      mtimeNs: stats.mtimeNs,
    }
  );
}

/** Nobody has it open: else it could not become a stub, and its guest may just be starting from it. */
async function isFree(path: string): Promise<boolean> {
  const file = await ImageFile.open(path).catch((error: unknown) => {
    if (error instanceof ParsError) return null;
    throw error;
  });
  if (file === null) return false;
  try {
    const fd = await file.keepOnlyWritable();
    if (!native().takeWriteLease(fd)) return false;
    native().releaseLease(fd);
    return true;
  } catch (error) {
    if (!(error instanceof ParsError) && codeOf(error) === undefined) throw error;
    return true; // a file system without leases, or one that is not written: the offload will say so
  } finally {
    await file.close();
  }
}

async function pause(signal?: AbortSignal, ms = POLL_MS): Promise<void> {
  await sleep(ms, undefined, signal && { signal }).catch((error: unknown) => {
    if (!signal?.aborted) throw error;
  });
}

/** The kernel gives the lock up with the process that holds it. Null when another worker has it. */
async function takeLock(stateDir: string): Promise<FileHandle | null> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const file = await open(join(stateDir, 'worker.lock'), 'a', 0o600);
  if (native().tryLock(file.fd)) return file;
  await file.close();
  return null;
}
