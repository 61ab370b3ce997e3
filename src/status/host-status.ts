// SPDX-License-Identifier: Apache-2.0
/**
 * What `pars status` tells: images waiting to be offloaded, work under way and how it ended, and the stubs of
 * this host.
 */
import { lstat } from 'node:fs/promises';
import { type ErrorKind, ParsError } from '../errors.js';
import { ifThere, isThere } from '../system/absence.js';
import { fileVersion, ImageFile } from '../image/image-file.js';
import { tellsOfCancel } from '../journal/cancellation.js';
import { readFailures, type Failure } from '../journal/failures.js';
import { readJobs, type Job } from '../journal/jobs.js';
import { readLosses, type NotedLoss } from '../journal/losses.js';
import { readTidied, type Tidied } from '../journal/tidied.js';
import { readRefusedStarts, type RefusedStart } from '../journal/refused-starts.js';
import { liveStubs } from '../image/live-stubs.js';
import { lostStubs } from '../image/lost-stubs.js';
import type { ImageFacts } from '../reader/inspection.js';
import { isCompressed } from '../image/save-format.js';
import { whyReadFirst } from '../lifecycle/compressed-save.js';
import { memorySnapshotOf } from '../libvirt/memory-snapshots.js';
import { readsCompressedFirst } from '../libvirt/reads-first.js';
import { ProbeMemory } from '../image/probe-memory.js';
import { ImageError } from '../reader/reader.js';
import { allSaves, type SavePlaces } from './save-places.js';
import { takesRoom } from '../image/stub.js';
import { StubRegistry, type KnownStub } from '../image/stub-registry.js';

/** A whole managed save that nobody is working on, since when it is there, and why it is still whole. */
export interface DueImage {
  image: string;
  domain: string;
  bytes: number;
  since: string;
  reason: string;
}

/** A managed save that is not a stub, and what keeps it from becoming one. */
export interface WholeSave extends Omit<DueImage, 'domain'> {
  /** Null when it cannot be read. */
  domain: string | null;
  /**
   * 'opted-out': the guest's metadata says no. 'held': it was hydrated by hand, or refilled ahead of a start.
   * 'kept': it could not be refilled when it is needed. 'unreadable': damaged, still being written, or
   * nothing that may be opened.
   */
  condition: 'due' | 'opted-out' | 'held' | 'kept' | 'unreadable';
  /** Of one that cannot be read: the kind of error. Absent while libvirt is still writing it. */
  kind?: ErrorKind;
}

/** What could not be looked at, so that nothing is known of it. */
export interface BlindSpot {
  kind: ErrorKind;
  message: string;
  hint: string;
}

export interface HostStatus {
  due: DueImage[];
  /** Whole because somebody hydrated them by hand, or because they could not be refilled in time. */
  held: WholeSave[];
  running: Job[];
  /** Failed or interrupted, and neither resolved since nor beside the point: that image is still there. */
  failed: Job[];
  stubs: KnownStub[];
  /** Stubs that are gone although no start of their guests consumed them: the memory is in the store only. */
  lost: KnownStub[];
  /** Managed saves that are gone, whose guests were started without them. */
  discarded: KnownStub[];
  /** What the worker has last seen in the store that no guest needs; null when none has looked. */
  tidied: Tidied | null;
  /** Starts that the hook refused, while the stub is still there to be started, the latest first. */
  refused: RefusedStart[];
  /** The last things that went wrong, whether or not they were resolved, the latest first. */
  failures: Failure[];
  /** Images refilled without expendable pages that should have been there, the latest first. */
  losses: NotedLoss[];
  /** All is well only if there are none. */
  blindSpots: BlindSpot[];
}

/** Looks at libvirt's directory of saves and at what this host remembers; changes nothing. */
export async function hostStatus(
  stateDir: string,
  saveDir: string,
  watch: readonly string[] = [],
): Promise<HostStatus> {
  const jobs = await readJobs(stateDir);
  const running = jobs.filter((job) => job.state === 'running');
  const saves = await wholeSavesIn({ stateDir, saveDir, watch }, jobs);
  const failed = await unresolved(jobs);
  const registry = new StubRegistry(stateDir);
  const stubs = await liveStubs(registry);
  return {
    due: saves.map(asDue).filter((due) => due !== null),
    held: saves.filter(({ condition }) => condition === 'held' || condition === 'kept'),
    running,
    failed,
    stubs,
    lost: await lostStubs(registry),
    discarded: await registry.discarded(),
    tidied: await readTidied(stateDir),
    refused: await stillRefused(stateDir, stubs, registry),
    failures: await readFailures(stateDir),
    losses: await readLosses(stateDir),
    blindSpots: [...(await noSaves(saveDir)), ...saves.flatMap(blindTo)],
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
  const refused = (await readRefusedStarts(stateDir)).filter(({ message }) => !tellsOfCancel(message));
  return refused.filter(
    (start) => live.has(start.domainUuid) || (!known.has(start.domainUuid) && isYoung(start)),
  );
}

/** Failed or interrupted, and neither resolved since nor beside the point. */
export async function unresolved(jobs: readonly Job[]): Promise<Job[]> {
  const failed = jobs.filter(
    (job) => (job.state === 'failed' || job.state === 'interrupted') && !isSuperseded(job, jobs),
  );
  const there = await Promise.all(failed.map(({ image }) => isThere(image)));
  return failed.filter((_, i) => there[i]);
}

/**
 * A refill of a stub in whose place another image was offloaded since. An offload that found the stub says
 * nothing of it, and neither does one that the refill has outlasted: it may have been of its stub.
 */
function isSuperseded({ kind, image, began, ended }: Job, jobs: readonly Job[]): boolean {
  if (kind !== 'hydrate') return false;
  const offload = jobs.find((job) => job.kind === 'offload' && job.image === image);
  return offload?.foundWhole !== undefined && offload.foundWhole > (ended ?? began);
}

async function noSaves(saveDir: string): Promise<BlindSpot[]> {
  if (await isThere(saveDir)) return [];
  const hint =
    'libvirt is not installed here, or keeps its managed saves elsewhere: name that with --save-dir';
  return [{ kind: 'missing', message: `there is no directory ${saveDir}`, hint }];
}

function blindTo({ image, kind, reason }: WholeSave): BlindSpot[] {
  if (kind === undefined) return [];
  const message = reason.includes(image) ? reason : `${image}: ${reason}`;
  return [
    {
      kind,
      message,
      hint: 'see what "pars offload" says of it; as long as it cannot be read it is not stored',
    },
  ];
}

async function wholeSavesIn(places: SavePlaces, jobs: readonly Job[]): Promise<WholeSave[]> {
  const saves = await Promise.all((await allSaves(places, jobs)).map((path) => wholeSave(path, jobs)));
  return saves.filter((save) => save !== null);
}

/**
 * Null for an image that is a stub, that somebody is working on, that is to stay whole, or that is none of
 * ours.
 */
export async function dueImage(
  path: string,
  jobs: readonly Job[],
  probes?: ProbeMemory,
): Promise<DueImage | null> {
  const save = await wholeSave(path, jobs, probes);
  return save && asDue(save);
}

function asDue({ image, domain, bytes, since, reason, condition }: WholeSave): DueImage | null {
  return domain === null || condition !== 'due' ? null : { image, domain, bytes, since, reason };
}

/** Null for an image that is a stub, that somebody is working on, or that is gone. */
export async function wholeSave(
  path: string,
  jobs: readonly Job[],
  probes = new ProbeMemory(),
): Promise<WholeSave | null> {
  const job = jobs.find(({ image, kind }) => image === path && kind === 'offload');
  if (job?.state === 'running') return null;
  const stats = await ifThere(path, (at) => lstat(at, { bigint: true }), null).catch((error: unknown) => {
    if (error instanceof ParsError) return error;
    throw error;
  });
  if (stats instanceof ParsError) return unreadable({ image: path, bytes: 0, since: EVER }, stats);
  if (stats === null || probes.isKnownStub({ ...stats, bytes: stats.size })) return null;
  const file = { image: path, bytes: Number(stats.size), since: stats.mtime.toISOString() };
  try {
    const { domain, stubRecord, format, headEnd } = await probePath(path, probes);
    if (stubRecord !== null && !takesRoom(Number(stats.blocks) * 512, headEnd)) return null;
    if (stubRecord !== null)
      return jobs.some(({ image, state }) => image === path && state === 'running')
        ? null
        : { ...file, domain: domain.name, condition: 'due', reason: WITHOUT_HOLES };
    if (domain.optOut)
      return {
        ...file,
        domain: domain.name,
        condition: 'opted-out',
        reason: 'its guest opted out (offload="no" in its metadata)',
      };
    const held = whyHeld(path, jobs, fileVersion(stats));
    if (held !== null) return { ...file, domain: domain.name, condition: 'held', reason: held };
    const kept = await whyKept(path, format);
    if (kept !== null) return { ...file, domain: domain.name, condition: 'kept', reason: kept };
    return { ...file, domain: domain.name, condition: 'due', reason: reasonOf(job) };
  } catch (error) {
    if (!(error instanceof ParsError)) throw error;
    return error.kind === 'missing' ? null : unreadable(file, error);
  }
}

/** Since when a file is there whose disk does not tell. */
const EVER = new Date(0).toISOString();

function unreadable(file: Pick<WholeSave, 'image' | 'bytes' | 'since'>, error: ParsError): WholeSave {
  const kind = isUnfinished(error) ? {} : { kind: error.kind };
  return { ...file, domain: null, condition: 'unreadable', reason: error.message, ...kind };
}

/** What copied it wrote out the holes of what is not in it, or its refill was killed. */
const WITHOUT_HOLES = 'it is a stub, but takes the room of an image: its holes are punched again';

/** Its stub could not be refilled in time. */
async function whyKept(path: string, format: string): Promise<string | null> {
  if (!isCompressed(format)) return null;
  if ((await memorySnapshotOf(path)) !== null)
    return `the memory of a snapshot, compressed as ${format}: a revert could not refill it in time`;
  const version = await readsCompressedFirst();
  return version === null ? null : whyReadFirst(format, version);
}

function whyHeld(path: string, jobs: readonly Job[], version: string): string | null {
  const holding = jobs.find(
    ({ kind, image, state, heldVersion }) =>
      kind === 'hydrate' && image === path && state === 'done' && heldVersion === version,
  );
  if (holding === undefined) return null;
  const { heldUntil } = holding;
  if (heldUntil === undefined)
    return 'it was hydrated by hand; it is offloaded again after the next save, or by name';
  return Date.parse(heldUntil) > Date.now()
    ? `it was refilled for a start (pars wake), which is waited for until ${heldUntil}`
    : null;
}

async function probePath(path: string, probes: ProbeMemory): Promise<ImageFacts> {
  const file = await ImageFile.open(path);
  return probes.probe(file).finally(() => file.close());
}

/** Still being written by libvirt, or turned into a stub right now: its time comes. */
export function isUnfinished(error: ParsError): boolean {
  return error.kind === 'busy' || (error instanceof ImageError && error.code === 'partial_image');
}

function reasonOf(job: Job | undefined): string {
  if (job?.state === 'failed') return job.error?.message ?? 'the last offload failed';
  if (job?.state === 'interrupted') return 'the last offload was interrupted';
  return job?.state === 'done'
    ? 'it was refilled, or saved again, since it was offloaded'
    : 'nobody has offloaded it yet';
}
