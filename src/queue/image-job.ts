// SPDX-License-Identifier: Apache-2.0
/** Work on one image as a job of this host: visible while it runs, and counted when it is done. */
import { PAGE_BYTES } from '../page-classes.js';
import { asJob, type JobRecord } from '../journal/jobs.js';
import { countOffload } from '../journal/ledger.js';
import { hydrate, type Hydrated, type HydrateOptions, type HydratePlace } from '../lifecycle/hydrate.js';
import { offload } from '../lifecycle/offload.js';
import type { Offloaded, OffloadOptions, OffloadPlace } from '../lifecycle/offload-request.js';
import { ImageFile } from '../image/image-file.js';
import type { OnProgress } from '../progress.js';
import type { Store } from '../stores/store.js';
import { eitherSignal } from '../system/deadline.js';
import { orTellSystem } from '../system/system-log.js';
import { noteRefill } from './note-refill.js';
import type { Pace } from './pace.js';

/** A backup that reads the image is given this long to finish. */
const LEASE_WAIT_MS = 30_000;
/** Of zstd: level 2 stores 6 % less and is no faster anywhere that was measured (docs/design.md, "Speed"). */
const LEVEL = 1;

export interface ImageJob extends Omit<OffloadOptions, 'leaseWaitMs' | 'level' | 'pace'> {
  stateDir: string;
  pace: Pace;
  /** Somebody asked for it, and is told of a mistake in what was typed: no failure of this host. */
  byHand: boolean;
}

/** Offloads one image as a job; its failure is noted in the journal and thrown. */
export async function offloadAsJob(image: string, place: OffloadPlace, job: ImageJob): Promise<Offloaded> {
  const { stateDir, pace, byHand, ...options } = job;
  const began = Date.now();
  const work = async (record: JobRecord | null): Promise<Offloaded> => {
    const done = await offload(image, place, {
      ...options,
      leaseWaitMs: LEASE_WAIT_MS,
      level: LEVEL,
      pace: (bytes) => pace.take(bytes),
      onProgress: telling(record, options.onProgress),
    });
    // It is a stub, noted or not.
    await orTellSystem(note(stateDir, record, done, began), `the offload of ${image} could not be noted`);
    return done;
  };
  return asJob(stateDir, 'offload', image, work, { byHand });
}

/** Whoever waits for the work is told, and whoever asks for the job. */
function telling(record: JobRecord | null, onProgress?: OnProgress): OnProgress {
  return (event) => {
    record?.progress.tell(event);
    onProgress?.(event);
  };
}

export interface RefillJob extends HydrateOptions {
  stateDir: string;
  /** How long the queue must not make a stub of it again; null: until its guest is saved again. */
  holdMs: number | null;
}

/** Where a refill works; its store is asked no more once the signal comes. */
export interface RefillPlace extends Omit<HydratePlace, 'store'> {
  store(signal: AbortSignal): Promise<Store>;
}

/** Refills one stub as a job that somebody asked for; a whole image is left as it is. */
export async function hydrateAsJob(path: string, place: RefillPlace, job: RefillJob): Promise<Hydrated> {
  const { stateDir, holdMs, onProgress, ...options } = job;
  const began = Date.now();
  const work = async (record: JobRecord | null): Promise<Hydrated> => {
    const signal = eitherSignal(options.signal, record?.cancellation.signal);
    const image = await ImageFile.open(path);
    try {
      const done = await hydrate(
        image,
        { ...place, store: () => place.store(signal) },
        { ...options, signal, onProgress: telling(record, onProgress) },
      );
      await noteRefill(stateDir, record, done, began);
      const until = holdMs === null ? {} : { heldUntil: new Date(Date.now() + holdMs).toISOString() };
      const held = async (): Promise<void> =>
        record?.update({ heldVersion: await image.version(), ...until });
      if (done.hydrated) await orTellSystem(held(), `that ${path} is refilled could not be noted`);
      return done;
    } catch (error) {
      throw record === null ? error : record.cancellation.explain(error);
    } finally {
      await image.close();
    }
  };
  return asJob(stateDir, 'hydrate', path, work, { byHand: true });
}

async function note(
  stateDir: string,
  record: JobRecord | null,
  done: Offloaded,
  began: number,
): Promise<void> {
  const foundWhole = new Date(began).toISOString();
  const { domain, snapshot, alreadyStub } = done;
  await record?.update({ domain, snapshot, ...(!alreadyStub && { foundWhole }) });
  if (!alreadyStub && !done.storedBefore) await count(stateDir, done, began);
}

async function count(stateDir: string, done: Offloaded, began: number): Promise<void> {
  const { domainUuid: uuid, domain: name, snapshot, imageBytes, storedBytes, freedBytes } = done;
  const now = Date.now();
  await countOffload(
    stateDir,
    { uuid, name },
    {
      time: new Date(now).toISOString(),
      seconds: (now - began) / 1000,
      snapshot,
      imageBytes,
      storedBytes,
      freedBytes,
      criticalCopies: done.criticalCopies,
      classes: done.classBytes,
      diskBytes: done.diskPages * PAGE_BYTES,
    },
  );
}
