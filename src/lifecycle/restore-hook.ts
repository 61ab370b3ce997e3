// SPDX-License-Identifier: Apache-2.0
/**
 * The part of the libvirt hook that needs Node: `restore begin`, and `prepare begin` of a revert to a memory
 * snapshot, which is announced by nothing else. libvirt has opened the image already; it is found among the
 * descriptors of our parent and of the parent's children (R18), and refilled in place before the hook
 * answers.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { codeOf, isForbidden, isMissing } from '../system/absence.js';
import { deadlineSignal, eitherSignal } from '../system/deadline.js';
import { hydrate, type Hydrated, type HydrateOptions } from './hydrate.js';
import { ParsError } from '../errors.js';
import type { DiskSource } from '../libvirt/disk-sources.js';
import type { Host } from '../system/host.js';
import type { JobRecord } from '../journal/jobs.js';
import { ImageFile } from '../image/image-file.js';
import { isCompressed } from '../image/save-format.js';
import { hasLiveStub } from '../image/live-stubs.js';
import { ImageError, probeImage } from '../reader/reader.js';
import { uuidOfImage } from '../reader/save-header.js';
import type { Store } from '../stores/store.js';
import type { StubRegistry } from '../image/stub-registry.js';
import { steadyMs } from '../system/steady-clock.js';

export interface HookTimes {
  /** How long the hook may hold a start. */
  deadlineMs: number;
  /** How long a start waits for a store that cannot be reached. */
  waitForStoreMs: number;
}

export interface RestoreBegin {
  domainUuid: string;
  /** The process that runs the hook: libvirt's daemon. */
  parentPid: number;
  /**
   * At `prepare begin`: the disks that libvirt gives the guest now. A guest that is started without any image
   * is prepared as well, so that none is open is no reason to refuse then.
   */
  prepared?: readonly DiskSource[];
  /** Reopens the store: the one before may have been closed by what made it unreachable. */
  openStore(signal: AbortSignal): Promise<Store>;
  registry: StubRegistry;
  host: Host;
  times: HookTimes;
  /** Disks that nobody can compare are taken for unchanged. */
  acceptUncomparedDisks?: boolean;
  signal?: AbortSignal;
  /** Keeps a note of the work while it lasts. */
  asJob(image: string, work: (job: JobRecord | null) => Promise<Hydrated>): Promise<Hydrated>;
}

const MAGIC = 'LibvirtQemudSave';
const STORE_POLL_MS = 1000;

/**
 * Makes every image of the guest that libvirt has open whole. Throws, and with it fails the start, when one
 * cannot be made whole, or when none is found although this host has a stub of the guest. Without such a stub
 * no stub can be concerned: one made elsewhere, and not seen, is refused by QEMU itself.
 */
export async function restoreBegin(request: RestoreBegin): Promise<void> {
  const signal = deadlineSignal(request.times.deadlineMs, request.signal);
  const images = await imagesOfGuest(request.parentPid, request.domainUuid, signal).catch(
    (error: unknown) => {
      throw signal.aborted ? tooLate(`the image of ${request.domainUuid}`, request.times) : error;
    },
  );
  try {
    if (images.length === 0 && !request.prepared && (await hasLiveStub(request.registry, request.domainUuid)))
      throw notFound(request);
    for (const { image, pid } of images) {
      await request.asJob(image.path, async (job) => {
        if (pid !== request.parentPid) await refuseReadAhead(image, signal);
        return hydrateInTime(image, request, job, signal);
      });
    }
  } finally {
    for (const { image } of images) await image.close();
  }
}

async function hydrateInTime(
  image: ImageFile,
  request: RestoreBegin,
  job: JobRecord | null,
  inTime: AbortSignal,
): Promise<Hydrated> {
  const signal = eitherSignal(inTime, job?.cancellation.signal);
  const options: HydrateOptions = {
    force: false,
    acceptChangedDisks: false,
    acceptUncomparedDisks: request.acceptUncomparedDisks ?? false,
    // Whoever refills it already, "pars wake" for one, is as fast as this would be.
    lockWaitMs: request.times.deadlineMs,
    signal,
    ...(job && { onProgress: job.progress.tell }),
    ...(request.prepared && { disks: request.prepared }),
  };
  const waitUntil = steadyMs() + request.times.waitForStoreMs;
  for (;;) {
    try {
      return await hydrate(image, { ...request, store: () => request.openStore(signal) }, options);
    } catch (error) {
      job?.cancellation.signal.throwIfAborted();
      request.signal?.throwIfAborted();
      if (signal.aborted) throw tooLate(image.path, request.times);
      if (!(error instanceof ParsError) || !error.passing || steadyMs() >= waitUntil) throw error;
    }
    await sleep(STORE_POLL_MS);
  }
}

/** An image that somebody has open for a start. */
export interface OpenImage {
  image: ImageFile;
  /** Who: libvirt's daemon, or a helper of it. */
  pid: number;
}

/**
 * With --bypass-cache, and of a compressed image with libvirt 12.8, a helper has read the first MiB before
 * the hook is asked. Of a raw image a stub keeps more than that; of a compressed one it keeps nothing, and
 * what the helper has read is the stub.
 */
async function refuseReadAhead(image: ImageFile, signal: AbortSignal): Promise<void> {
  const { format, stubRecord } = await probeImage(image.fd, { signal });
  if (stubRecord === null || !isCompressed(format)) return;
  throw new ParsError(
    'refused',
    `${image.path} is the stub of an image saved as ${format}, and a helper of libvirt has read it already: `
      + 'with --bypass-cache, or with libvirt 12.8, it is too late to refill it now',
    { hint: `nothing is lost: run "pars hydrate ${image.path}", then start the guest` },
  );
}

/** The images of a guest that a process or one of its children has open, each once. */
export async function imagesOfGuest(
  parentPid: number,
  domainUuid: string,
  signal: AbortSignal,
): Promise<OpenImage[]> {
  const found = new Map<string, OpenImage>();
  for (const pid of [parentPid, ...(await childrenOf(parentPid))]) {
    for (const fd of await descriptorsOf(pid)) {
      const image = await openImage(pid, fd);
      if (image === null) continue;
      const { dev, ino } = await image.identity();
      const key = `${dev}:${ino}`;
      if (!found.has(key) && (await isOfGuest(image, domainUuid, signal))) found.set(key, { image, pid });
      else await image.close();
    }
  }
  return [...found.values()];
}

/** With --bypass-cache only a helper that libvirt started may hold the image. */
async function childrenOf(pid: number): Promise<number[]> {
  const tasks = await seen(readdir(`/proc/${pid}/task`), []);
  const lists = await Promise.all(
    tasks.map((task) => seen(readFile(`/proc/${pid}/task/${task}/children`, 'utf8'), '')),
  );
  return lists
    .flatMap((list) =>
      list
        .split(' ')
        .filter((word) => /^\d+$/.test(word))
        .map(Number),
    )
    .filter((child) => child !== process.pid);
}

/**
 * A process that has ended has nothing; of one that may not be looked at nothing is found, and restoreBegin
 * refuses if a stub is known.
 */
async function seen<T>(look: Promise<T>, nothing: T): Promise<T> {
  try {
    return await look;
  } catch (error) {
    if (isMissing(error) || isForbidden(error)) return nothing;
    throw error;
  }
}

async function descriptorsOf(pid: number): Promise<number[]> {
  return (await seen(readdir(`/proc/${pid}/fd`), [])).map(Number);
}

/** The regular file behind a descriptor, if it begins like a save image. */
async function openImage(pid: number, fd: number): Promise<ImageFile | null> {
  const link = `/proc/${pid}/fd/${fd}`;
  try {
    if (!(await stat(link)).isFile()) return null;
    const image = await ImageFile.openDescriptor(pid, fd, await readlink(link));
    if ((await image.read(0, MAGIC.length)).toString('latin1') === MAGIC) return image;
    await image.close();
  } catch (error) {
    // Closed meanwhile, or nothing that can be read: then QEMU, which reads through the same descriptor, has
    // no image there either.
    if (!(error instanceof ParsError) && codeOf(error) === undefined) throw error;
  }
  return null;
}

/** Another guest's is not given to the reader. Throws when the reader itself fails. */
async function isOfGuest(image: ImageFile, domainUuid: string, signal: AbortSignal): Promise<boolean> {
  if (uuidOfImage(image.fd) !== domainUuid) return false;
  try {
    return (await probeImage(image.fd, { signal })).domain.uuid === domainUuid;
  } catch (error) {
    if (error instanceof ImageError) return false;
    await image.close();
    throw error;
  }
}

function notFound({ domainUuid }: RestoreBegin): ParsError {
  return new ParsError(
    'refused',
    `this host has a stub of the guest ${domainUuid}, but libvirt shows no image of it to refill`,
    { hint: 'refill it by hand, then start the guest again: pars hydrate IMAGE (see: pars status)' },
  );
}

function tooLate(path: string, { deadlineMs }: HookTimes): ParsError {
  return new ParsError(
    'unreachable',
    `${path} could not be refilled within ${Math.round(deadlineMs / 1000)} s (hook.deadline); it is `
      + `still a stub`,
    { hint: 'start the guest again, or refill it by hand without a deadline: pars hydrate IMAGE' },
  );
}
