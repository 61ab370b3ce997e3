// SPDX-License-Identifier: Apache-2.0
/**
 * What this host remembers of a refill, whoever asked for it: in its job, among the losses, and in the ledger
 * of each guest.
 */
import type { JobRecord } from '../journal/jobs.js';
import { countHydrate } from '../journal/ledger.js';
import { noteLosses } from '../journal/losses.js';
import type { Hydrated } from '../lifecycle/hydrate.js';
import { orTellSystem } from '../system/system-log.js';

/**
 * The image is whole, noted or not: what cannot be written is said in the system's log alone. `began`: when
 * it did, in milliseconds since the epoch.
 */
export async function noteRefill(
  stateDir: string,
  job: JobRecord | null,
  done: Hydrated,
  began: number,
): Promise<void> {
  await orTellSystem(note(stateDir, job, done, began), `the refill of ${done.image} could not be noted`);
}

async function note(
  stateDir: string,
  job: JobRecord | null,
  { domain, image, manifest, losses, hydrated, bytes }: Hydrated,
  began: number,
): Promise<void> {
  if (manifest)
    await noteLosses(stateDir, { image, domain: domain.name, snapshot: manifest.snapshot, losses });
  await job?.update({ domain: domain.name, snapshot: manifest?.snapshot ?? null, losses });
  if (hydrated)
    await countHydrate(stateDir, domain, {
      time: new Date().toISOString(),
      seconds: (Date.now() - began) / 1000,
      imageBytes: bytes,
    });
}
