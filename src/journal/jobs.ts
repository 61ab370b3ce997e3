// SPDX-License-Identifier: Apache-2.0
/**
 * What this host is doing or did to images, one small file an image and kind of work, so that `pars status`
 * can tell. A job says it runs; that it does is proved by the process it names, so a killed one is shown as
 * interrupted.
 */
import { createHash } from 'node:crypto';
import { stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { orTellSystem } from '../system/system-log.js';
import { parseJson } from '../system/json-text.js';
import { ifThere, namesIn, readIfThere } from '../system/absence.js';
import { writeAtomically } from '../system/atomic-file.js';
import { ParsError, type ErrorKind } from '../errors.js';
import { realPathOf } from '../system/real-path.js';
import { processStart } from '../system/process-start.js';
import { Cancellation, Cancelled, requestCancel } from './cancellation.js';
import { noteFailure } from './failures.js';
import { type JobProgress, ProgressNote, readProgress } from './job-progress.js';
import { countFailure } from './ledger.js';

export type JobKind = 'offload' | 'hydrate';
export type JobState = 'running' | 'done' | 'failed' | 'interrupted';

export interface Job {
  kind: JobKind;
  image: string;
  domain: string | null;
  snapshot: string | null;
  /** Of a hydration: pages that did not come back as they were, and were recovered. */
  losses?: { byPolicy: number; unexpected: number; recovered: number };
  /**
   * Of a hydration that somebody asked for by hand: which file it left (`fileVersion`). As long as it is this
   * one, the queue leaves it alone.
   */
  heldVersion?: string;
  /** Until when, of one that was refilled ahead of a start; absent: until its guest is saved again. */
  heldUntil?: string;
  /** Of an offload: when the last one at this path began that stored an image, and did not find a stub. */
  foundWhole?: string;
  state: JobState;
  began: string;
  ended: string | null;
  error: { kind: ErrorKind; message: string; hint: string | null } | null;
  /** Of one that is running and tells it. */
  progress?: JobProgress;
  /**
   * The process at work, and when it started (clock ticks since boot): a number that was given out again is
   * not it.
   */
  pid: number;
  processStart: string;
}

/** The job a command is doing right now. */
export class JobRecord {
  /** Takes what the work tells of its progress. */
  readonly progress: ProgressNote;
  /** What of the work may be cancelled listens to it. */
  readonly cancellation: Cancellation;
  readonly #path: string;
  readonly #earlier: string | null;
  #job: Job;

  private constructor(path: string, job: Job, earlier: string | null) {
    this.progress = new ProgressNote(besideJob(path, 'progress'));
    this.cancellation = new Cancellation(besideJob(path, 'cancel'), job.image, job);
    this.#path = path;
    this.#job = job;
    this.#earlier = earlier;
  }

  /** Says that this process works on `image`; replaces what an earlier job of the kind left. */
  static async begin(stateDir: string, kind: JobKind, path: string): Promise<JobRecord> {
    const image = await realPathOf(path);
    const file = jobPath(stateDir, kind, image);
    const earlier = await readIfThere(file);
    const foundWhole = earlier === null ? undefined : (parseJson(earlier) as Job | undefined)?.foundWhole;
    const job: Job = {
      kind,
      image,
      domain: null,
      snapshot: null,
      ...(foundWhole !== undefined && { foundWhole }),
      state: 'running',
      began: new Date().toISOString(),
      ended: null,
      error: null,
      pid: process.pid,
      processStart: processStart(process.pid) ?? '',
    };
    const record = new JobRecord(file, job, earlier);
    await record.#save();
    return record;
  }

  async update(
    change: Partial<Pick<Job, 'domain' | 'snapshot' | 'losses' | 'heldVersion' | 'heldUntil' | 'foundWhole'>>,
  ): Promise<void> {
    this.#job = { ...this.#job, ...change };
    await this.#save();
  }

  async succeed(): Promise<void> {
    this.#job = { ...this.#job, state: 'done', ended: new Date().toISOString() };
    await this.#save();
  }

  async fail(error: unknown): Promise<void> {
    this.#job = {
      ...this.#job,
      state: wasStopped(error) ? 'interrupted' : 'failed',
      ended: new Date().toISOString(),
      error: describe(error),
    };
    await this.#save();
  }

  /** As if it had never begun. What another process has noted of the image since stays. */
  async undo(): Promise<void> {
    if (!(await this.#isLatest())) return;
    await (this.#earlier === null ? unlink(this.#path) : writeAtomically(this.#path, this.#earlier));
  }

  /** Whether another process was at work on the image before it, and is still. */
  async isBesideAnother(): Promise<boolean> {
    const earlier = this.#earlier === null ? undefined : (parseJson(this.#earlier) as Job | null | undefined);
    if (typeof earlier?.image !== 'string' || earlier.pid === process.pid) return false;
    return !(await this.#isLatest()) || (await stateNow(this.#path, earlier)).state === 'running';
  }

  async #isLatest(): Promise<boolean> {
    const noted = parseJson((await readIfThere(this.#path)) ?? '') as Job | null | undefined;
    return noted?.pid === this.#job.pid && noted.began === this.#job.began;
  }

  async #save(): Promise<void> {
    await writeAtomically(this.#path, `${JSON.stringify(this.#job, null, 2)}\n`);
  }
}

/**
 * Runs `work` as a job. State that cannot be written does not stop the work: the image matters more than the
 * note about it. `byHand`: a person asked for it, who is told of a mistake in what was typed; that is no
 * failure of this host.
 */
export async function asJob<T>(
  stateDir: string,
  kind: JobKind,
  image: string,
  work: (record: JobRecord | null) => Promise<T>,
  { byHand = false } = {},
): Promise<T> {
  const record = await orTellSystem(JobRecord.begin(stateDir, kind, image), notNoted(kind, image));
  try {
    const result = await work(record);
    await orTellSystem(record?.succeed(), notNoted(kind, image));
    return result;
  } catch (error) {
    const forNothing = error instanceof ParsError && error.kind === 'usage' && byHand;
    if (forNothing || error instanceof Cancelled) await orTellSystem(record?.undo(), notNoted(kind, image));
    else await noteEnd(record, stateDir, kind, image, error);
    throw error;
  } finally {
    await Promise.all([record?.progress.end(), record?.cancellation.end()]);
  }
}

function notNoted(kind: JobKind, image: string): string {
  return `the ${kind} of ${image} could not be noted`;
}

async function noteEnd(
  record: JobRecord | null,
  stateDir: string,
  kind: JobKind,
  image: string,
  error: unknown,
): Promise<void> {
  // Of one that came to nothing beside another's work, that work is what is to be known.
  const isBeside = (await orTellSystem(record?.isBesideAnother(), notNoted(kind, image))) ?? false;
  await orTellSystem(isBeside ? record?.undo() : record?.fail(error), notNoted(kind, image));
  if (!wasStopped(error)) await remember(stateDir, kind, image, describe(error));
}

function describe(error: unknown): NonNullable<Job['error']> {
  const message = error instanceof Error ? error.message : String(error);
  const [kind, hint] =
    error instanceof ParsError ? [error.kind, error.hint ?? null] : (['internal', null] as const);
  return { kind, message, hint };
}

async function remember(
  stateDir: string,
  work: JobKind,
  subject: string,
  error: NonNullable<Job['error']>,
): Promise<void> {
  await countFailure(stateDir, work, error.kind);
  await noteFailure(stateDir, { time: new Date().toISOString(), work, subject, ...error });
}

/** By a signal or a deadline: nothing is wrong then. */
function wasStopped(error: unknown): boolean {
  return (
    error instanceof Error
    && (error.name === 'AbortError'
      || error.name === 'TimeoutError'
      || error.message.startsWith('interrupted by '))
  );
}

/** All jobs this host remembers, the latest first. */
export async function readJobs(stateDir: string): Promise<Job[]> {
  const directory = join(stateDir, 'jobs');
  const names = await namesIn(directory);
  const jobs = await Promise.all(
    names.filter((name) => /^[a-z0-9-]+\.json$/.test(name)).map((name) => readJob(join(directory, name))),
  );
  const latestFirst = jobs
    .filter((job): job is Job => job !== null)
    .sort((a, b) => b.began.localeCompare(a.began));
  // Earlier versions kept one job for each path by which an image was reached.
  return latestFirst.filter(
    (job, i) => latestFirst.findIndex(({ kind, image }) => kind === job.kind && image === job.image) === i,
  );
}

async function readJob(path: string): Promise<Job | null> {
  const text = await readIfThere(path);
  if (text === null) return null;
  const job = parseJson(text) as Job | null | undefined;
  if (!job || ![job.kind, job.image, job.state, job.began].every((said) => typeof said === 'string'))
    return damaged(path);
  return stateNow(path, { ...job, image: await realPathOf(job.image) });
}

async function stateNow(path: string, job: Job): Promise<Job> {
  if (job.state !== 'running') return job;
  if (job.processStart === '' || processStart(job.pid) !== job.processStart)
    return { ...job, state: 'interrupted' };
  const progress = await readProgress(besideJob(path, 'progress'), job.pid);
  return progress === null ? job : { ...job, progress };
}

/** As if the job had never been. */
export async function forgetJob(stateDir: string, { kind, image }: Job): Promise<void> {
  const path = jobPath(stateDir, kind, image);
  for (const one of [path, besideJob(path, 'cancel'), besideJob(path, 'progress')])
    await ifThere(one, unlink, undefined);
}

/** Asks the process at work to end this job; it may be done before it hears of that. */
export async function cancelJob(stateDir: string, job: Job): Promise<void> {
  await requestCancel(besideJob(jobPath(stateDir, job.kind, job.image), 'cancel'), job);
}

const besideJob = (path: string, what: 'progress' | 'cancel'): string =>
  `${path.slice(0, -'json'.length)}${what}`;

/** A note that says nothing may have been one of a failure: it is told of as a failed job about itself. */
async function damaged(path: string): Promise<Job> {
  const { mtime } = await stat(path);
  return {
    kind: path.includes('hydrate-') ? 'hydrate' : 'offload',
    image: path,
    domain: null,
    snapshot: null,
    state: 'failed',
    began: mtime.toISOString(),
    ended: mtime.toISOString(),
    error: {
      kind: 'corrupt',
      message: 'this note of a job is damaged: what became of the image is not known',
      hint: 'see what "pars offload --pending" says of the images here, then remove the note',
    },
    pid: 0,
    processStart: '',
  };
}

function jobPath(stateDir: string, kind: JobKind, image: string): string {
  return join(
    stateDir,
    'jobs',
    `${kind}-${createHash('sha256').update(image).digest('hex').slice(0, 24)}.json`,
  );
}
