// SPDX-License-Identifier: Apache-2.0
/** How long `pars status` tells of a refill that failed: until another image was offloaded in its place. */
import { renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ParsError } from '../../src/errors.js';
import { asJob, type Job } from '../../src/journal/jobs.js';
import { policyByName } from '../../src/policy/policy.js';
import { offloadAsJob } from '../../src/queue/image-job.js';
import { Pace } from '../../src/queue/pace.js';
import { hostStatus } from '../../src/status/host-status.js';
import { smallImage } from '../support/image-builder.js';
import { HOST, imageFixture, type ImageFixture } from '../support/image-fixture.js';

let fixture: ImageFixture;
let stateDir: string;
beforeEach(async () => {
  fixture = await imageFixture();
  stateDir = join(fixture.root, 'state');
  save();
  await offload();
});
afterEach(() => fixture.dispose());

/** The guest is saved: a new file takes the place of what lies there. */
function save(): void {
  writeFileSync(`${fixture.image}.new`, smallImage().bytes);
  renameSync(`${fixture.image}.new`, fixture.image);
}

async function offload(): Promise<void> {
  const { store, registry, image } = fixture;
  await sleep(10); // a job that begins in the millisecond in which another ended counts as beside it
  await offloadAsJob(
    image,
    { store, host: HOST, registry },
    {
      stateDir,
      pace: new Pace({ stateDir, bandwidth: null }),
      byHand: false,
      policy: policyByName('pars'),
      policyIsFixed: true,
      keepLocal: false,
      force: false,
      managedSave: true,
    },
  );
}

/** A start whose refill fails, after something else. */
async function failToRefill(first: () => Promise<void> = async () => {}): Promise<void> {
  const refill = asJob(stateDir, 'hydrate', fixture.image, async () => {
    await first();
    throw new ParsError('refused', 'vda has changed');
  });
  await expect(refill).rejects.toThrow('vda has changed');
}

async function failed(): Promise<Pick<Job, 'kind' | 'state'>[]> {
  return (await hostStatus(stateDir, dirname(fixture.image))).failed;
}

const REFILL = { kind: 'hydrate', state: 'failed' };

it('is beside the point once another image was offloaded in its place, whatever comes after', async () => {
  await failToRefill();
  expect(await failed()).toMatchObject([REFILL]);
  save();
  await offload();
  expect(await failed()).toEqual([]);
  await offload(); // finds its stub
  expect(await failed()).toEqual([]);
  await failToRefill();
  expect(await failed()).toMatchObject([REFILL]);
});

it('is still told of after an offload that found the stub', async () => {
  await failToRefill();
  await offload();
  expect(await failed()).toMatchObject([REFILL]);
});

it('is still told of when it waited for the offload that made the stub', async () => {
  save();
  await failToRefill(offload);
  expect(await failed()).toMatchObject([REFILL]);
});
