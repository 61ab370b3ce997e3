// SPDX-License-Identifier: Apache-2.0
/** An offload of one image as a job of this host: visible while it runs, and counted when it is done. */
import { PAGE_BYTES } from '../page-classes.js';
import { resolve } from 'node:path';
import { asJob, type JobRecord } from '../journal/jobs.js';
import { countOffload } from '../journal/ledger.js';
import { offload } from '../lifecycle/offload.js';
import type { Offloaded, OffloadOptions, OffloadPlace } from '../lifecycle/offload-request.js';
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
    });
    await record?.update({ domain: done.domain, snapshot: done.snapshot });
    if (!done.alreadyStub) await count(stateDir, done, began);
    return done;
  };
  return asJob(stateDir, 'offload', resolve(image), work, { byHand });
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
