// SPDX-License-Identifier: Apache-2.0
/**
 * What `pars status` tells: images waiting to be offloaded, work under way and how it ended, and the stubs of
 * this host.
 */
import { existsSync } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { ParsError } from '../errors.js';
import { ImageFile } from '../image/image-file.js';
import { readFailures, type Failure } from '../journal/failures.js';
import { readJobs, type Job } from '../journal/jobs.js';
import { readLosses, type NotedLoss } from '../journal/losses.js';
import { readRefusedStarts, type RefusedStart } from '../journal/refused-starts.js';
import { liveStubs } from '../image/live-stubs.js';
import { lostStubs } from '../image/lost-stubs.js';
import type { ImageFacts } from '../reader/inspection.js';
import { isCompressed } from '../image/save-format.js';
import { memorySnapshotOf } from '../libvirt/memory-snapshots.js';
import { probeImage } from '../reader/reader.js';
import { allSaves, type SavePlaces } from './save-places.js';
import { StubRegistry, type KnownStub } from '../image/stub-registry.js';

/** A whole managed save that nobody is working on, since when it is there, and why it is still whole. */
export interface DueImage {
  image: string;
  domain: string;
  bytes: number;
  since: string;
  reason: string;
}

/** A managed save that is no stub, and what keeps it from becoming one. */
export interface WholeSave extends Omit<DueImage, 'domain'> {
  /** Null when it cannot be read. */
  domain: string | null;
  /**
   * 'opted-out': the guest's metadata says no. 'kept': it could not be refilled when it is needed.
   * 'unreadable': damaged, still being written, or nothing that may be opened.
   */
  condition: 'due' | 'opted-out' | 'kept' | 'unreadable';
}

export interface HostStatus {
  due: DueImage[];
  running: Job[];
  /** Failed or interrupted, and neither made good since nor beside the point: the image is still there. */
  failed: Job[];
  stubs: KnownStub[];
  /** Stubs that are gone although no start of their guests consumed them: the memory is in the store only. */
  lost: KnownStub[];
  /** Starts that the hook refused, while the stub is still there to be started, the latest first. */
  refused: RefusedStart[];
  /** The last things that went wrong, whether or not they were made good, the latest first. */
  failures: Failure[];
  /** Images refilled without expendable pages that should have been there, the latest first. */
  losses: NotedLoss[];
}

/** Looks at libvirt's directory of saves and at what this host remembers; changes nothing. */
export async function hostStatus(
  stateDir: string,
  saveDir: string,
  watch: readonly string[] = [],
): Promise<HostStatus> {
  const jobs = await readJobs(stateDir);
  const running = jobs.filter((job) => job.state === 'running');
  const failed = jobs.filter(
    ({ state, image }) => (state === 'failed' || state === 'interrupted') && existsSync(image),
  );
  const registry = new StubRegistry(stateDir);
  const stubs = await liveStubs(registry);
  return {
    due: await dueIn({ stateDir, saveDir, watch }, jobs),
    running,
    failed,
    stubs,
    lost: await lostStubs(registry),
    refused: await stillRefused(stateDir, stubs, registry),
    failures: await readFailures(stateDir),
    losses: await readLosses(stateDir),
  };
}

const UNKNOWN_GUEST_MS = 86_400_000;

/**
 * Beside the point once the guest's stub was refilled by hand or is gone. Of a guest that has no stub of this
 * host nobody knows, so what was said counts for a day.
 */
async function stillRefused(
  stateDir: string,
  stubs: readonly KnownStub[],
  registry: StubRegistry,
): Promise<RefusedStart[]> {
  const known = new Set((await registry.all()).map(({ domainUuid }) => domainUuid));
  const live = new Set(stubs.map(({ domainUuid }) => domainUuid));
  const isYoung = ({ time }: RefusedStart): boolean => Date.now() - Date.parse(time) < UNKNOWN_GUEST_MS;
  const refused = await readRefusedStarts(stateDir);
  return refused.filter(
    (start) => live.has(start.domainUuid) || (!known.has(start.domainUuid) && isYoung(start)),
  );
}

export async function dueIn(places: SavePlaces, jobs: readonly Job[]): Promise<DueImage[]> {
  const due = await Promise.all((await allSaves(places, jobs)).map((path) => dueImage(path, jobs)));
  return due.filter((entry) => entry !== null);
}

/**
 * Null for an image that is a stub, that somebody is working on, that is to stay whole, or that is none of
 * ours.
 */
export async function dueImage(path: string, jobs: readonly Job[]): Promise<DueImage | null> {
  const save = await wholeSave(path, jobs);
  if (save === null || save.domain === null || save.condition !== 'due') return null;
  const { image, domain, bytes, since, reason } = save;
  return { image, domain, bytes, since, reason };
}

/** Null for an image that is a stub, that somebody is working on, or that is gone. */
export async function wholeSave(path: string, jobs: readonly Job[]): Promise<WholeSave | null> {
  const job = jobs.find(({ image, kind }) => image === path && kind === 'offload');
  if (job?.state === 'running') return null;
  const stats = await lstat(path).catch(() => null);
  if (stats === null) return null;
  const file = { image: path, bytes: stats.size, since: stats.mtime.toISOString() };
  try {
    const { domain, stubRecord, format } = await probePath(path);
    if (stubRecord !== null) return null;
    if (domain.optOut)
      return {
        ...file,
        domain: domain.name,
        condition: 'opted-out',
        reason: 'its guest opted out (offload="no" in its metadata)',
      };
    if (isCompressed(format) && (await memorySnapshotOf(path)) !== null)
      return {
        ...file,
        domain: domain.name,
        condition: 'kept',
        reason: `the memory of a snapshot, compressed as ${format}: a revert could not refill it in time`,
      };
    return { ...file, domain: domain.name, condition: 'due', reason: reasonOf(job) };
  } catch (error) {
    return isMissing(error)
      ? null
      : { ...file, domain: null, condition: 'unreadable', reason: (error as Error).message };
  }
}

async function probePath(path: string): Promise<ImageFacts> {
  const file = await ImageFile.open(path);
  return probeImage(file.fd).finally(() => file.close());
}

function isMissing(error: unknown): boolean {
  return error instanceof ParsError && error.kind === 'missing';
}

function reasonOf(job: Job | undefined): string {
  if (job?.state === 'failed') return job.error?.message ?? 'the last offload failed';
  if (job?.state === 'interrupted') return 'the last offload was interrupted';
  return job?.state === 'done'
    ? 'it was refilled, or saved again, since it was offloaded'
    : 'nobody has offloaded it yet';
}
