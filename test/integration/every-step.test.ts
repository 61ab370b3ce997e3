// SPDX-License-Identifier: Apache-2.0
/**
 * Offload, hydrate, the hook, drain and prune, each stopped before any of the changes it makes to a file
 * system (the store's directories, the image, the host's notes): the image is an image or a stub that works,
 * every committed snapshot is whole, and after the next offload and a prune nothing is left over.
 */
import { forgetProcess, stopAfter } from '../support/stopping.js';
import {
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  utimes,
  writeFile,
  type FileHandle,
} from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { restoreBegin } from '../../src/lifecycle/restore-hook.js';
import { hydrate } from '../../src/lifecycle/hydrate.js';
import { offload } from '../../src/lifecycle/offload.js';
import { prune, type PrunePlace } from '../../src/lifecycle/prune.js';
import { restore } from '../../src/lifecycle/restore.js';
import { markState } from '../../src/lifecycle/claims.js';
import { ImageFile } from '../../src/image/image-file.js';
import { StubRegistry } from '../../src/image/stub-registry.js';
import { policyByName } from '../../src/policy/policy.js';
import { asJob } from '../../src/journal/jobs.js';
import { offloadPending } from '../../src/queue/pending.js';
import { probeImage } from '../../src/reader/reader.js';
import { listSnapshots } from '../../src/snapshot/snapshots.js';
import { LocalStore } from '../../src/stores/local/local-store.js';
import { initLocalStore } from '../../src/stores/local/init.js';
import { domainXml, smallImage, UUID } from '../support/image-builder.js';
import { MEMORY_DIRECTORY } from '../support/memory-directory.js';

const HOST = { machineId: '0'.repeat(32), host: 'test' };
const RETENTION = { keepLast: 1, maxAgeMs: 0, consumedMs: 0, orphanGraceMs: 0 };
/**
 * Every change by default would take too long for a gate: each run takes every so many, from a random one.
 * PARS_EVERY_STEP=1 takes all.
 */
const STRIDE = Number(process.env['PARS_EVERY_STEP'] ?? 60);
/** Far more than any of them makes: a loop that does not end is a failure. */
const MOST = 2000;

const original = smallImage({ frames: 1700 }).bytes;
const other = smallImage({
  frames: 1600,
  xml: domainXml({ name: 'other', uuid: `99999999${UUID.slice(8)}` }),
}).bytes;

let root: string;
let image: string;
let stateDir: string;
let directories: string[];

beforeEach(async () => {
  root = await mkdtemp(join(MEMORY_DIRECTORY, 'pars-steps-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** A host as new, with the image saved on it. */
async function fresh(): Promise<void> {
  await rm(root, { recursive: true, force: true });
  [image, stateDir, directories] = [
    join(root, 'saves', 'g.save'),
    join(root, 'state'),
    ['d1', 'd2', 'd3'].map((name) => join(root, name)),
  ];
  await mkdir(join(root, 'saves'), { recursive: true });
  await mkdir(stateDir);
  await initLocalStore(directories.join(','), { allowSameDevice: true });
  await writeFile(image, original);
}

const store = (): LocalStore => LocalStore.fromPath(directories.join(','));
const place = (): PrunePlace => ({
  store: store(),
  host: HOST,
  registry: new StubRegistry(stateDir),
  retention: RETENTION,
  stateDir,
});

function offloadOf(path: string): Promise<unknown> {
  return asJob(stateDir, 'offload', path, () =>
    offload(path, place(), {
      policy: policyByName('pars'),
      policyIsFixed: true,
      keepLocal: false,
      force: false,
      managedSave: true,
      leaseWaitMs: 1000,
      level: 1,
    }),
  );
}

async function hydrateImage(): Promise<void> {
  const file = await ImageFile.open(image);
  try {
    await hydrate(
      file,
      { store: async () => store(), host: HOST, registry: new StubRegistry(stateDir) },
      { force: false, acceptChangedDisks: false, lockWaitMs: 0 },
    );
  } finally {
    await file.close();
  }
}

/** As libvirt calls it: the image is open in the process that runs the hook. */
async function wake(): Promise<void> {
  await restoreBegin({
    domainUuid: UUID,
    parentPid: process.pid,
    openStore: async () => store(),
    registry: new StubRegistry(stateDir),
    host: HOST,
    times: { deadlineMs: 60_000, waitForStoreMs: 0 },
    asJob: (path, work) => asJob(stateDir, 'hydrate', path, work),
  });
}

async function drain(): Promise<void> {
  const ok = (path: string): Promise<boolean> =>
    offloadOf(path).then(
      () => true,
      () => false,
    );
  await offloadPending({
    stateDir,
    saveDir: join(root, 'saves'),
    concurrency: 2,
    largestFirst: async () => true,
    patient: true,
    offload: ok,
  });
}

async function stateOf(path: string, whole: Buffer): Promise<'image' | 'stub' | 'neither'> {
  if ((await readFile(path)).equals(whole)) return 'image';
  const file = await ImageFile.open(path);
  try {
    return (await probeImage(file.fd)).stubRecord === null ? 'neither' : 'stub';
  } finally {
    await file.close();
  }
}

/** Every snapshot that exists gives back one of the images; returns of how many guests there is one. */
async function expectSnapshotsWhole(): Promise<number> {
  const entries = (await listSnapshots(store())).filter(({ condition }) => condition !== 'incomplete');
  for (const { snapshot, condition } of entries) {
    expect(condition, snapshot).toBe('whole');
    const path = join(root, 'restored');
    await restore(store(), snapshot, path, { force: true });
    const bytes = await readFile(path);
    expect(bytes.equals(original) || bytes.equals(other), `${snapshot} gives back the image`).toBe(true);
    await rm(path);
  }
  return new Set(entries.map(({ snapshot }) => snapshot.slice(0, UUID.length))).size;
}

async function expectSound(): Promise<void> {
  const state = await stateOf(image, original);
  expect(state).not.toBe('neither');
  expect(await expectSnapshotsWhole()).toBeGreaterThanOrEqual(state === 'stub' ? 1 : 0);
}

/** A fragment, and the note of a stub in the making, are young until then: somebody may be writing them. */
async function aDayPasses(): Promise<void> {
  const then = new Date(Date.now() - 25 * 3_600_000);
  for (const directory of [...directories, stateDir]) {
    for (const name of await readdir(directory, { recursive: true }))
      await utimes(join(directory, name), then, then);
  }
}

/** Nothing but what one offloaded image needs, in the store and among the host's notes. */
async function expectNothingLeft(images = 1): Promise<void> {
  await aDayPasses();
  await prune(place(), { yes: true, orphans: true });
  expect(await listSnapshots(store())).toHaveLength(images);
  const files = (
    await Promise.all([...directories, stateDir].map((directory) => readdir(directory, { recursive: true })))
  ).flat();
  expect(files.filter((name) => name.endsWith('.tmp') || name.includes('incomplete'))).toEqual([]);
  expect((await new StubRegistry(stateDir).all()).length).toBe(images);
}

/** Stops `work` at each of its changes in turn; says how many there were. */
async function stopAtEach(
  prepare: () => Promise<void>,
  work: () => Promise<unknown>,
  check: () => Promise<void>,
  stride = STRIDE,
): Promise<number> {
  for (let k = Math.floor(Math.random() * stride); k < MOST; k += stride) {
    await prepare();
    const { stopped, done, error } = await stopAfter(k, work);
    if (!stopped) {
      expect(error).toBeNull();
      return done.length;
    }
    await forgetProcess(stateDir);
    await check().catch((failure: unknown) => {
      throw new Error(
        `stopped after ${k} changes (${done.slice(-3).join(', ')}): `
          + `${(failure as Error).stack ?? String(failure)}`,
      );
    });
  }
  throw new Error(`more than ${MOST} changes`);
}

const offloadFirst = async (): Promise<void> => {
  await fresh();
  await offloadOf(image);
};

async function expectRepeatable(): Promise<void> {
  await expectSound();
  await offloadOf(image);
  expect(await stateOf(image, original)).toBe('stub');
  await expectNothingLeft();
}

it('an offload', async () => {
  expect(await stopAtEach(fresh, () => offloadOf(image), expectRepeatable)).toBeGreaterThan(50);
}, 600_000);

it('a hydration', async () => {
  const count = await stopAtEach(offloadFirst, hydrateImage, async () => {
    await expectSound();
    await hydrateImage();
    expect(await stateOf(image, original)).toBe('image');
  });
  expect(count).toBeGreaterThan(10);
}, 600_000);

it('an offload of what was refilled and not written since, which stores nothing anew', async () => {
  const refilled = async (): Promise<void> => {
    await offloadFirst();
    await hydrateImage();
  };
  const check = async (): Promise<void> => {
    await expectSound();
    await offloadOf(image);
    expect(await stateOf(image, original)).toBe('stub');
    expect(await listSnapshots(store())).toMatchObject([{ state: 'stubbed' }]);
    await hydrateImage();
    expect(await stateOf(image, original)).toBe('image');
  };
  expect(await stopAtEach(refilled, () => offloadOf(image), check, Math.min(STRIDE, 8))).toBeGreaterThan(10);
}, 600_000);

it('the hook, whose second run wakes the guest, or an offload makes a small stub again', async () => {
  let held: FileHandle | undefined;
  const hold = async (): Promise<void> => {
    await offloadFirst();
    held = await open(image, 'r');
  };
  const letGo = async (): Promise<void> => held?.close();
  let odd = false;
  const count = await stopAtEach(hold, wake, async () => {
    await expectSound();
    if ((odd = !odd)) await wake();
    await letGo();
    if (odd) expect(await stateOf(image, original)).toBe('image');
    else await expectRepeatable();
  });
  await letGo();
  expect(count).toBeGreaterThan(10);
}, 600_000);

it('a drain of two images', async () => {
  const second = (): string => join(root, 'saves', 'h.save');
  const prepare = async (): Promise<void> => {
    await fresh();
    await writeFile(second(), other);
  };
  const count = await stopAtEach(prepare, drain, async () => {
    await expectSound();
    expect(await stateOf(second(), other)).not.toBe('neither');
    await drain();
    expect([await stateOf(image, original), await stateOf(second(), other)]).toEqual(['stub', 'stub']);
    expect(await expectSnapshotsWhole()).toBe(2);
    await expectNothingLeft(2);
  });
  expect(count).toBeGreaterThan(100);
}, 900_000);

it('a prune, of a consumed snapshot, an orphan, a fragment and temporary files', async () => {
  const prepare = async (): Promise<void> => {
    await offloadFirst();
    const [consumed] = await listSnapshots(store());
    if (consumed?.condition === 'whole') await markState(store(), consumed.manifest, 'consumed', HOST);
    await writeFile(image, original);
    await stopAfter(40, () => offloadOf(image));
    await writeFile(join(root, 'saves', 'h.save'), other);
    await offloadOf(join(root, 'saves', 'h.save'));
    await rm(join(root, 'saves', 'h.save'));
    await rm(image);
    await writeFile(image, original);
    await offloadOf(image);
  };
  const count = await stopAtEach(
    prepare,
    () => prune(place(), { yes: true, orphans: true }),
    async () => {
      expect(await stateOf(image, original)).toBe('stub');
      expect(await expectSnapshotsWhole()).toBeGreaterThanOrEqual(1);
      await expectNothingLeft();
    },
  );
  expect(count).toBeGreaterThan(5);
}, 600_000);
