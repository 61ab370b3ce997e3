// SPDX-License-Identifier: Apache-2.0
/** What is full: the store, which pruning helps, or a disk of this host, which it does not. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import pc from 'picocolors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Cli } from '../../src/cli/context.js';
import { register } from '../../src/commands/prune.js';
import { ParsError } from '../../src/errors.js';
import { markState } from '../../src/lifecycle/claims.js';
import { policyByName } from '../../src/policy/policy.js';
import { type Drain, drainQueue } from '../../src/queue/drain.js';
import { hydrateAsJob } from '../../src/queue/image-job.js';
import { listSnapshots, readManifest, stateObject } from '../../src/snapshot/snapshots.js';
import { diskFull } from '../../src/system/disk-space.js';
import { thisHost } from '../../src/system/host.js';
import { stateDir, tidyPlace } from '../support/daily-saves.js';
import { domainXml, smallImage } from '../support/image-builder.js';
import { HOST, type ImageFixture, imageFixture } from '../support/image-fixture.js';
import {
  backdate,
  commit,
  DAY,
  fixture as store,
  names,
  useOwnedSnapshots,
} from '../support/owned-snapshots.js';

/** The same object, but for what some of its methods do. */
function instead<T extends object>(object: T, methods: Partial<Record<keyof T, () => unknown>>): T {
  return new Proxy(object, {
    get(target, key) {
      const other = methods[key as keyof T];
      if (other !== undefined) return other;
      const member: unknown = Reflect.get(target, key);
      return typeof member === 'function' ? (member.bind(target) as unknown) : member;
    },
  });
}

describe('a full store', () => {
  useOwnedSnapshots();

  it('is pruned of what is due, though a start cannot be noted in it', async () => {
    const owner = thisHost();
    const old = await commit({ owner, sequence: 1, token: '1'.repeat(32) });
    for (const state of ['stubbed', 'waking', 'consumed'] as const)
      await markState(store.store, old, state, owner);
    backdate(stateObject(old.snapshot, 'consumed'), 8 * DAY);
    const started = await commit({ owner, sequence: 2, token: '2'.repeat(32) });
    await markState(store.store, started, 'stubbed', owner);
    const { image, snapshot, token, domain } = started;
    const stub = { image: image.path, snapshot, token, domainUuid: domain.uuid, managedSave: true };
    await tidyPlace().registry.add({ ...stub, refilled: 'an image' });
    mkdirSync(join(stateDir(), 'started'), { recursive: true });
    writeFileSync(join(stateDir(), 'started', domain.uuid), '');
    const warnings: string[] = [];
    const noSpace = new ParsError('no-space', 'the quota is used up');
    const context = {
      config: async () => ({ retention: tidyPlace().retention, stateDir: stateDir() }),
      store: async () => instead(store.store, { createExclusive: () => Promise.reject(noSpace) }),
      output: {
        json: () => undefined,
        text: () => undefined,
        warning: (text: string) => warnings.push(text),
        colours: pc.createColors(false),
      },
    };
    const command = new Command('prune');
    register(command, {
      run: (_: object, work: (at: unknown) => unknown) => work(context),
    } as unknown as Cli);
    await command.parseAsync(['--yes'], { from: 'user' });
    expect(await names()).toEqual([started.snapshot]);
    expect(warnings).toEqual([expect.stringContaining('the quota is used up')]);
  });
});

describe('a full disk of this host', () => {
  let fixture: ImageFixture;
  const { bytes } = smallImage();

  beforeEach(async () => {
    fixture = await imageFixture();
    writeFileSync(fixture.image, bytes);
  });
  afterEach(() => fixture.dispose());

  it('takes nothing out of the store before its time', async () => {
    const { image, root, registry } = fixture;
    const { snapshot } = await fixture.offload();
    await fixture.hydrate();
    await markState(fixture.store, await readManifest(fixture.store, snapshot), 'consumed', HOST);
    writeFileSync(
      image,
      smallImage({ xml: domainXml({ uuid: '1'.repeat(8) + '-2222-3333-4444-555555555555' }) }).bytes,
    );
    const noRoom = diskFull(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' }), join(root, 'state'));
    const failures: unknown[] = [];
    const nothing = (): undefined => undefined;
    const drain: Drain = {
      saveDir: dirname(image),
      watch: [],
      limits: { concurrency: 1, bandwidth: null, settleMs: 0, freeSpaceFloor: { share: 0 }, overdueMs: DAY },
      retention: { automatic: true, keepLast: null, maxAgeMs: null, consumedMs: DAY, orphanGraceMs: DAY },
      place: {
        store: fixture.store,
        host: HOST,
        registry: instead(registry, { add: () => Promise.reject(noRoom as Error) }),
      },
      job: {
        stateDir: join(root, 'state'),
        policy: policyByName('pars'),
        policyIsFixed: true,
        diskReferences: false,
      },
      hurry: true,
      signal: AbortSignal.timeout(60_000),
      listener: {
        offloaded: nothing,
        failed: (_, error) => failures.push(error),
        heldBack: nothing,
        startsNotNoted: nothing,
        pruned: nothing,
        notPruned: nothing,
      },
    };
    await drainQueue(drain);
    expect(failures).toMatchObject([
      { kind: 'no-space', hint: expect.not.stringContaining('prune') as string },
    ]);
    expect((await listSnapshots(fixture.store)).map((entry) => entry.snapshot)).toEqual([snapshot]);
  });

  it('does not make a refill fail that cannot be noted any more', async () => {
    const { image, registry, root } = fixture;
    await fixture.offload();
    const jobs = join(root, 'state', 'jobs');
    const done = await hydrateAsJob(
      image,
      { store: async () => fixture.store, host: HOST, registry },
      {
        stateDir: join(root, 'state'),
        holdMs: null,
        force: false,
        acceptChangedDisks: false,
        lockWaitMs: 0,
        onStep: (step) => {
          if (step !== 'refilled') return;
          rmSync(jobs, { recursive: true });
          writeFileSync(jobs, '');
        },
      },
    );
    expect(done).toMatchObject({ hydrated: true });
    expect(readFileSync(image).equals(bytes)).toBe(true);
  });
});
