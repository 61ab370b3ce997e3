// SPDX-License-Identifier: Apache-2.0
/** The clock of the host is set while something is waited for, as it is soon after a boot. */
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ParsError } from '../../src/errors.js';
import { ImageFile } from '../../src/image/image-file.js';
import { asJob, JobRecord } from '../../src/journal/jobs.js';
import { hydrate } from '../../src/lifecycle/hydrate.js';
import { restoreBegin } from '../../src/lifecycle/restore-hook.js';
import { Pace } from '../../src/queue/pace.js';
import { smallImage, UUID } from '../support/image-builder.js';
import { HOST, type ImageFixture, imageFixture } from '../support/image-fixture.js';

const HOUR = 3_600_000;
const now = Date.now.bind(Date);

let stateDir: string;

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'pars-clock-'));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(stateDir, { recursive: true });
});

const setClock = (byMs: number): unknown => vi.spyOn(Date, 'now').mockImplementation(() => now() + byMs);

it('back: bytes are let through at their pace, and not when the clock is there again', async () => {
  const pace = new Pace({ stateDir, bandwidth: 10_000, signal: AbortSignal.timeout(5000) });
  await pace.take(1000);
  setClock(-HOUR);
  await pace.take(1);
});

it('back: an offload goes on when the refill is over that it stands back for', async () => {
  const pace = new Pace({ stateDir, bandwidth: null, signal: AbortSignal.timeout(5000) });
  const refill = await JobRecord.begin(stateDir, 'hydrate', '/saves/other.save');
  const taken = pace.take(1);
  await sleep(100);
  setClock(-HOUR);
  await refill.succeed();
  await taken;
});

async function withStub(work: (fixture: ImageFixture) => Promise<void>): Promise<void> {
  const fixture = await imageFixture();
  try {
    writeFileSync(fixture.image, smallImage().bytes);
    await fixture.offload();
    await work(fixture);
  } finally {
    await fixture.dispose();
  }
}

it('forward: a refill waits on for the process that has the image', () =>
  withStub(async ({ image, store, registry }) => {
    const other = await ImageFile.open(image);
    await other.lock();
    const file = await ImageFile.open(image);
    try {
      const place = { store: async () => store, host: HOST, registry };
      const refilled = hydrate(file, place, { force: false, acceptChangedDisks: false, lockWaitMs: 60_000 });
      await sleep(100);
      setClock(HOUR);
      await Promise.all([refilled, sleep(500).then(() => other.close())]);
    } finally {
      await Promise.all([file.close(), other.close()]);
    }
  }));

it('forward: a start waits on for the store', () =>
  withStub(async ({ image, store, registry }) => {
    const holder = openSync(image, 'r');
    const openStore = vi.fn(() => Promise.resolve(store));
    openStore.mockImplementationOnce(() => {
      setClock(HOUR);
      return Promise.reject(new ParsError('unreachable', 'the store is away'));
    });
    await restoreBegin({
      domainUuid: UUID,
      parentPid: process.pid,
      openStore,
      registry,
      host: HOST,
      times: { deadlineMs: 60_000, waitForStoreMs: 60_000 },
      asJob: (path, work) => asJob(stateDir, 'hydrate', path, work),
    }).finally(() => closeSync(holder));
    expect(openStore).toHaveBeenCalledTimes(2);
  }));
