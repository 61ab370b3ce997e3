// SPDX-License-Identifier: Apache-2.0
/**
 * What a refill waits for, a store that is away and another process on its image, and what it never waits for
 * (R18).
 */
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ParsError, type ErrorKind } from '../../src/errors.js';
import { ImageFile } from '../../src/image/image-file.js';
import { hydrate, type Hydrated } from '../../src/lifecycle/hydrate.js';
import { asJob } from '../../src/journal/jobs.js';
import { restoreBegin } from '../../src/lifecycle/restore-hook.js';
import type { Store } from '../../src/stores/store.js';
import { smallImage, UUID } from '../support/image-builder.js';
import { type ImageFixture, imageFixture } from '../support/image-fixture.js';

const HOST = { machineId: '0'.repeat(32), host: 'test' };
const original = smallImage().bytes;

let fixture: ImageFixture;

beforeEach(async () => {
  fixture = await imageFixture();
  writeFileSync(fixture.image, original);
  await fixture.offload();
});
afterEach(() => fixture.dispose());

const isRefilled = (): boolean => readFileSync(fixture.image).equals(original);

describe('a start whose store cannot be opened', () => {
  /** As libvirt has its hook do it: the image is open in the process that runs it. */
  async function start(openStore: () => Promise<Store>, waitForStoreMs: number): Promise<void> {
    const holder = openSync(fixture.image, 'r');
    await restoreBegin({
      domainUuid: UUID,
      parentPid: process.pid,
      openStore,
      registry: fixture.registry,
      host: HOST,
      times: { deadlineMs: 60_000, waitForStoreMs },
      asJob: (path, work) => asJob(join(fixture.root, 'state'), 'hydrate', path, work),
    }).finally(() => closeSync(holder));
  }

  const failing = (kind: ErrorKind) =>
    vi.fn(() => Promise.reject<Store>(new ParsError(kind, 'the store says so')));

  it('goes on as soon as the store is back', async () => {
    const openStore = vi.fn(() => Promise.resolve(fixture.store));
    openStore.mockRejectedValueOnce(new ParsError('unreachable', 'the store is away'));
    await start(openStore, 60_000);
    expect(openStore).toHaveBeenCalledTimes(2);
    expect(isRefilled()).toBe(true);
  });

  it('fails when the store is away for longer than it waits', async () => {
    const openStore = failing('unreachable');
    await expect(start(openStore, 0)).rejects.toMatchObject({ kind: 'unreachable' });
    expect(openStore).toHaveBeenCalledTimes(1);
  });

  it.each<ErrorKind>(['refused', 'corrupt', 'lost'])(
    'fails at once with what does not pass: %s',
    async (kind) => {
      const openStore = failing(kind);
      await expect(start(openStore, 60_000)).rejects.toMatchObject({ kind });
      expect(openStore).toHaveBeenCalledTimes(1);
    },
  );

  it('fails at once with an error that is none of its kinds', async () => {
    const openStore = vi.fn(() => Promise.reject<Store>(new TypeError('a defect')));
    await expect(start(openStore, 60_000)).rejects.toThrow('a defect');
    expect(openStore).toHaveBeenCalledTimes(1);
  });
});

describe('a refill of an image that another process has locked', () => {
  let image: ImageFile;
  beforeEach(async () => {
    image = await ImageFile.open(fixture.image);
  });
  afterEach(() => image.close());

  function refill(lockWaitMs: number, signal?: AbortSignal): Promise<Hydrated> {
    const place = { store: async () => fixture.store, host: HOST, registry: fixture.registry };
    const options = { force: false, acceptChangedDisks: false, lockWaitMs, ...(signal && { signal }) };
    return hydrate(image, place, options);
  }

  const busy = new ParsError('busy', 'another pars process works on it');

  it('goes on as soon as the lock is free', async () => {
    const lock = vi.spyOn(image, 'lock').mockRejectedValueOnce(busy);
    expect(await refill(60_000)).toMatchObject({ hydrated: true });
    expect(lock).toHaveBeenCalledTimes(2);
    expect(isRefilled()).toBe(true);
  });

  it('fails when it is locked for longer than it waits', async () => {
    const lock = vi.spyOn(image, 'lock').mockRejectedValue(busy);
    await expect(refill(0)).rejects.toBe(busy);
    expect(lock).toHaveBeenCalledTimes(1);
  });

  it('ends when it is cancelled meanwhile', async () => {
    vi.spyOn(image, 'lock').mockRejectedValue(busy);
    await expect(refill(60_000, AbortSignal.abort(new Error('cancelled')))).rejects.toThrow('cancelled');
  });

  it.each([new ParsError('refused', 'it is on another file system'), new TypeError('a defect')])(
    'fails at once with any other error: %s',
    async (error) => {
      const lock = vi.spyOn(image, 'lock').mockRejectedValue(error);
      await expect(refill(60_000)).rejects.toBe(error);
      expect(lock).toHaveBeenCalledTimes(1);
    },
  );
});
