// SPDX-License-Identifier: Apache-2.0
/**
 * Refills ahead of a start, by guest: what is woken, in which order, how far it is, and how it is cancelled.
 */
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { StubRegistry } from '../../src/image/stub-registry.js';
import { asJob, readJobs, type Job } from '../../src/journal/jobs.js';
import { startedAtBoot } from '../../src/libvirt/boot.js';
import { restoreBegin } from '../../src/lifecycle/restore-hook.js';
import { Bandwidth } from '../../src/queue/bandwidth.js';
import { cancelRefills } from '../../src/queue/cancel.js';
import { guestSavesIn, inStartOrder, isStartedAtBoot } from '../../src/queue/guest-saves.js';
import { hydrateAsJob } from '../../src/queue/image-job.js';
import { thisHost } from '../../src/system/host.js';
import { openStore } from '../../src/stores/open.js';
import type { Store } from '../../src/stores/store.js';
import { domainXml, smallImage, UUID } from '../support/image-builder.js';
import { type LocalFixture, localFixture } from '../support/local-store.js';
import { type Ran, runPars } from '../support/run-pars.js';

const OTHER = '11111111-2222-3333-4444-555555555555';

let fixture: LocalFixture;
let root: string;
let image: string;
let stateDir: string;
let original: Buffer;

beforeEach(async () => {
  fixture = await localFixture();
  root = mkdtempSync(join(tmpdir(), 'pars-wake-'));
  stateDir = join(root, 'state');
  mkdirSync(join(root, 'saves'));
  image = save('guest');
  original = smallImage().bytes;
  configure('');
  expect((await pars('offload', '--policy', 'replicate-all', image)).exitCode).toBe(0);
});
afterEach(async () => {
  rmSync(root, { recursive: true, force: true });
  await fixture.dispose();
});

const configure = (more: string): void =>
  writeFileSync(
    join(root, 'pars.yaml'),
    `store: local:${fixture.path}\nstate_dir: ${stateDir}\nqueue: {settle: 1s}\n${more}`,
  );

function save(name: string, uuid = UUID): string {
  const path = join(root, 'saves', `${name}.save`);
  writeFileSync(path, smallImage({ xml: domainXml({ name, uuid }) }).bytes);
  return path;
}

const pars = (...argv: string[]): Promise<Ran> => runPars(...argv, '--config', join(root, 'pars.yaml'));
const onSaves = (...argv: string[]): Promise<Ran> => pars(...argv, '--save-dir', join(root, 'saves'));
const parsed = ({ stdout }: Ran): unknown => JSON.parse(stdout);
const isWhole = async (path = image): Promise<boolean> => (await readFile(path)).equals(original);

describe('pars wake', () => {
  it.each(['guest', UUID])('refills the stub of the guest %s', async (guest) => {
    expect(parsed(await onSaves('wake', guest, '--json'))).toMatchObject({ image, hydrated: true });
    expect(await isWhole()).toBe(true);
    expect((await onSaves('wake', guest)).stdout).toContain('is not a stub: nothing to do');
  });

  it('says so of a guest without a managed save, and still wakes the others', async () => {
    const ran = await onSaves('wake', 'nobody', 'guest', '--json');
    expect(ran.exitCode).toBe(4);
    expect(parsed(ran)).toMatchObject({ images: [{ image: 'nobody' }, { hydrated: true }] });
  });

  it.each([[[]], [['guest', '--all']], [['guest', '--starting']]])('refuses to guess: %j', async (words) => {
    expect((await onSaves('wake', ...words)).exitCode).toBe(2);
  });

  it('leaves the image to its start for a while, then to the queue again', async () => {
    await onSaves('wake', 'guest');
    expect(parsed(await onSaves('offload', '--pending', '--json'))).toMatchObject({
      offloaded: [],
      left: [{ image, condition: 'held', reason: expect.stringContaining('pars wake') as string }],
    });
    expect((await onSaves('status')).exitCode).toBe(0);
    configure('wake: { settle: 0s }\n');
    await pars('offload', image);
    await onSaves('wake', 'guest');
    expect(parsed(await onSaves('offload', '--pending', '--json'))).toMatchObject({ offloaded: [image] });
  });

  it('wakes all that are stubs with --all, and only those that a boot starts with --starting', async () => {
    const other = save('other', OTHER);
    await pars('offload', other);
    save('whole', '22222222-2222-3333-4444-555555555555');
    expect(parsed(await onSaves('wake', '--all', '--starting', '--json'))).toEqual({ images: [] });
    const { images } = parsed(await onSaves('wake', '--all', '--json')) as { images: { image: string }[] };
    expect(images.map(({ image: path }) => path).sort()).toEqual([image, other]);
  });

  it('tells with --all of a save that it cannot read, and wakes the others', async () => {
    const broken = join(root, 'saves', 'broken.save');
    writeFileSync(broken, 'nothing that ever was an image, or all that is left of one');
    const ran = await onSaves('wake', '--all', '--json');
    expect(ran.exitCode).not.toBe(0);
    const { images } = parsed(ran) as { images: { image: string; error?: { message: string } }[] };
    expect(images.map(({ image: path }) => path).sort()).toEqual([broken, image]);
    expect(images.find(({ image: path }) => path === broken)?.error?.message).toContain(broken);
    const again = await onSaves('wake', '--all');
    expect(again.exitCode).toBe(ran.exitCode);
    expect(again.stderr).toContain('broken.save');
    expect(again.stdout).not.toContain('none of these managed saves is a stub');
    expect((await onSaves('wake', '--all', '--starting')).exitCode).toBe(ran.exitCode);
  });
});

describe('the order of a boot', () => {
  it('is: autostart, then what libvirt-guests starts, then the youngest save', async () => {
    const names = ['old', 'young', 'stopped', 'auto'];
    for (const [i, name] of names.entries()) {
      const path = save(name, `${i}${OTHER.slice(1)}`);
      utimesSync(path, 1000 + i, name === 'old' ? 1000 : 2000 - i);
    }
    rmSync(image);
    mkdirSync(join(root, 'autostart'));
    writeFileSync(join(root, 'autostart', 'auto.xml'), '');
    writeFileSync(join(root, 'guests'), `default 2${OTHER.slice(1)}\n`);
    const boot = await startedAtBoot(join(root, 'autostart'), join(root, 'guests'));
    const { saves } = await guestSavesIn(join(root, 'saves'), AbortSignal.timeout(60_000));
    expect(inStartOrder(saves, boot).map(({ name }) => name)).toEqual(['auto', 'stopped', 'young', 'old']);
    expect(saves.filter((one) => isStartedAtBoot(one, boot)).map(({ name }) => name)).toEqual([
      'auto',
      'stopped',
    ]);
    expect(await startedAtBoot(join(root, 'none'), join(root, 'none'))).toEqual({
      autostart: new Set(),
      stopped: new Set(),
    });
  });

  it('keeps within the bandwidth', async () => {
    const bandwidth = new Bandwidth(1_000_000);
    const began = Date.now();
    for (let i = 0; i < 4; i++) await bandwidth.take(100_000);
    expect(Date.now() - began).toBeGreaterThanOrEqual(290);
  });
});

/** A store whose reads wait: of a disk that is slow, or does not answer. */
async function slowStore(): Promise<{ store: Store; release: () => void }> {
  const store = await openStore(`local:${fixture.path}`);
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  const readRange = store.readRange.bind(store);
  let reads = 0;
  store.readRange = async (...args) => {
    if (++reads > 2) await released;
    return readRange(...args);
  };
  return { store, release };
}

const refillsNow = async (): Promise<Job[]> =>
  (await readJobs(stateDir)).filter(({ kind, state }) => kind === 'hydrate' && state === 'running');
const cancel = (guest: string, patienceMs?: number): ReturnType<typeof cancelRefills> =>
  cancelRefills({
    stateDir,
    guest,
    signal: AbortSignal.timeout(30_000),
    ...(patienceMs !== undefined && { patienceMs }),
  });

describe('a refill that takes long', () => {
  const registry = (): StubRegistry => new StubRegistry(stateDir);

  function wakeOn(store: Store): Promise<unknown> {
    return hydrateAsJob(
      image,
      { store: async () => store, host: thisHost(), registry: registry() },
      {
        stateDir,
        holdMs: 0,
        force: false,
        acceptChangedDisks: false,
        lockWaitMs: 0,
        signal: AbortSignal.timeout(60_000),
      },
    );
  }

  /** As libvirt has its hook do it: the image is open in the process that runs it. */
  async function startOn(store: Store): Promise<void> {
    const holder = openSync(image, 'r');
    const times = { deadlineMs: 60_000, waitForStoreMs: 0 };
    await restoreBegin({
      domainUuid: UUID,
      parentPid: process.pid,
      openStore: async () => store,
      registry: registry(),
      host: thisHost(),
      times,
      asJob: (path, work) => asJob(stateDir, 'hydrate', path, work),
    }).finally(() => closeSync(holder));
  }

  it.each([
    ['pars wake', wakeOn],
    ['the hook', startOn],
  ])('by %s is cancelled by the name of its guest, and leaves the stub', async (_, refill) => {
    const blocks = statSync(image).blocks;
    const { store, release } = await slowStore();
    const refilling = refill(store).catch((error: Error) => error);
    await vi.waitFor(async () => expect(await refillsNow()).toHaveLength(1), 10_000);
    const cancelling = cancel('guest');
    // What was asked of a disk before is waited for.
    setTimeout(release, 500);
    expect(await cancelling).toEqual([{ image, cancelled: true }]);
    expect(await refilling).toMatchObject({
      kind: 'refused',
      message: expect.stringContaining('cancelled by "pars cancel"') as string,
    });
    expect(statSync(image).blocks).toBeLessThanOrEqual(blocks + 64);
    expect(await isWhole()).toBe(false);
    expect((await onSaves('status')).exitCode).toBe(0);
    expect((await onSaves('wake', 'guest')).exitCode).toBe(0);
    expect(await isWhole()).toBe(true);
  });

  it('shows how far it is in pars status, with the time left', async () => {
    const { store, release } = await slowStore();
    const refilling = wakeOn(store);
    await vi.waitFor(async () => expect(await refillsNow()).toHaveLength(1), 10_000);
    const [job] = await refillsNow();
    const note = { pid: process.pid, since: Date.now() - 10_000, first: 0, done: 25, total: 100 };
    const jobs = join(stateDir, 'jobs');
    const [name = ''] = readdirSync(jobs).filter((one) => /^hydrate-.*json$/.test(one));
    writeFileSync(join(jobs, name.replace('.json', '.progress')), JSON.stringify(note));
    expect((await onSaves('status')).stdout).toMatch(/hydrate .*guest\.save, since .*: 25 %, 30 s left/);
    expect(job?.progress).toBeUndefined();
    release();
    await refilling;
    expect(readdirSync(jobs).filter((one) => !one.endsWith('.json'))).toEqual([]);
  });

  it('is found by cancel only while it runs', async () => {
    await expect(cancel('guest')).rejects.toMatchObject({ kind: 'missing' });
    expect((await pars('cancel', 'guest')).exitCode).toBe(4);
  });
});
