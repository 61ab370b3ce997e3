// SPDX-License-Identifier: Apache-2.0
/**
 * kill -9 of offloads and hydrations of a real guest whose page cache stays on its own disk: at every step,
 * at random instants, and before changes of the file system one after another. Afterwards there is either the
 * image or a stub that gives it back byte for byte.
 */
import { forgetProcess, stopAfter } from '../support/stopping.js';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ImageFile } from '../../src/image/image-file.js';
import { StubRegistry } from '../../src/image/stub-registry.js';
import { hydrate } from '../../src/lifecycle/hydrate.js';
import { offload } from '../../src/lifecycle/offload.js';
import { customPolicy, type PolicySpec } from '../../src/policy/policy.js';
import { listSnapshots } from '../../src/snapshot/snapshots.js';
import { openStore } from '../../src/stores/open.js';
import type { Store } from '../../src/stores/store.js';
import { buildEntry, KillLab } from '../support/kill-lab.js';
import { expectSound, killedAnywhere } from '../support/killed-anywhere.js';
import { labMissing } from '../support/lab.js';
import { ParsHost } from '../support/pars-host.js';

/** Seconds each, with an image this large: without it only changes are stopped at. */
const INSTANTS = Number(process.env['PARS_KILL_INSTANTS'] ?? 0);
/** Each run stops before every so many of 600 changes, a random one first. PARS_EVERY_STEP=1 takes all. */
const STRIDE = Number(process.env['PARS_EVERY_STEP'] ?? 100);
const MOST = 2000;
const HOST = { machineId: '0'.repeat(32), host: 'test' };
/** Everything that is no reference is stored: what comes back must be the very image. */
const POLICY: PolicySpec = { base: 'lean', classes: { free: 1 }, force: false };

describe.skipIf(labMissing() !== undefined)('a guest whose page cache is on its disk', () => {
  let host: ParsHost;
  let image: string;

  beforeAll(async () => {
    await buildEntry();
    host = await ParsHost.start();
    const guest = await host.boot({
      kernel: 'trixie',
      memoryMiB: 224,
      cmdline: 'pars.fill=40',
      disks: [{ fs: 'ext4', generate: 80, format: 'raw' }],
    });
    image = join(host.lab.dir, 'guest.save');
    await guest.managedSave();
    await copyFile(guest.hostImagePath, image);
  });
  afterAll(() => host?.stop());

  const create = (): Promise<KillLab> => KillLab.create(image, undefined, POLICY);

  describe.runIf(INSTANTS > 0)('killed', () => killedAnywhere(create, INSTANTS));

  describe('stopped before a change', () => {
    let lab: KillLab;
    let store: Store;

    beforeEach(async () => {
      lab = await create();
      store = await openStore(lab.storeUrl);
    });
    afterEach(async () => {
      await store.close();
      await lab.dispose();
    });

    const registry = (): StubRegistry => new StubRegistry(lab.stateDir);

    async function offloadImage(): Promise<void> {
      await offload(
        lab.image,
        { store, host: HOST, registry: registry() },
        {
          policy: customPolicy(POLICY),
          policyIsFixed: true,
          keepLocal: false,
          force: false,
          managedSave: true,
          diskReferences: true,
          leaseWaitMs: 1000,
          level: 1,
        },
      );
    }

    async function hydrateImage(): Promise<void> {
      const file = await ImageFile.open(lab.image);
      try {
        await hydrate(
          file,
          { store: () => Promise.resolve(store), host: HOST, registry: registry() },
          { force: false, acceptChangedDisks: false, lockWaitMs: 0 },
        );
      } finally {
        await file.close();
      }
    }

    async function stopAtEach(work: () => Promise<void>, before: () => Promise<void>): Promise<number> {
      for (let k = Math.floor(Math.random() * STRIDE); k < MOST; k += STRIDE) {
        await before();
        const { stopped, done, error } = await stopAfter(k, work);
        if (!stopped) {
          expect(error).toBeNull();
          return done.length;
        }
        await forgetProcess(lab.stateDir);
        await expectSound(lab).catch((failure: unknown) => {
          throw new Error(`stopped after ${k} changes (${done.slice(-3).join(', ')})`, { cause: failure });
        });
      }
      throw new Error(`more than ${MOST} changes`);
    }

    it('an offload', async () => {
      const asImage = async (): Promise<void> => {
        if ((await lab.stateOfImage()) === 'stub') await hydrateImage();
        expect(await lab.stateOfImage()).toBe('image');
        // Saved again: what was only refilled would become its stub again with nothing to store.
        await lab.freshImage();
      };
      expect(await stopAtEach(offloadImage, asImage)).toBeGreaterThan(50);
      await expectReferences();
    }, 600_000);

    it('a hydration', async () => {
      const asStub = async (): Promise<void> => {
        await offloadImage();
        expect(await lab.stateOfImage()).toBe('stub');
      };
      expect(await stopAtEach(hydrateImage, asStub)).toBeGreaterThan(10);
      expect(await lab.stateOfImage()).toBe('image');
    }, 600_000);

    /** What is killed here does leave pages to the disk. */
    async function expectReferences(): Promise<void> {
      const whole = (await listSnapshots(store)).filter((entry) => entry.condition === 'whole');
      expect(whole.length).toBeGreaterThan(0);
      for (const { manifest } of whole) expect(manifest.references?.pages).toBeGreaterThan(5000);
    }
  });
});
