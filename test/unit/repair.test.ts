// SPDX-License-Identifier: Apache-2.0
import { mkdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { processStart } from '../../src/system/process-start.js';
import { offload } from '../../src/lifecycle/offload.js';
import { presetPolicy } from '../../src/policy/policy.js';
import { SnapshotSource } from '../../src/snapshot/snapshot-source.js';
import { findSnapshot, MANIFEST_NAME, objectPath, readManifest } from '../../src/snapshot/snapshots.js';
import { claimWaking, takeOver } from '../../src/lifecycle/claims.js';
import { storeAgain } from '../../src/lifecycle/store-again.js';
import { initLocalStore } from '../../src/stores/local/init.js';
import { LocalStore } from '../../src/stores/local/local-store.js';
import type { StoredObject } from '../../src/stores/store.js';
import { StubRegistry } from '../../src/image/stub-registry.js';
import { isStored } from '../../src/snapshot/index-table.js';
import { worstFault, verifySnapshot, type Verification } from '../../src/health/verify.js';
import { failure } from '../contract/store.js';
import { domainXml, smallImage } from '../support/image-builder.js';
import { filesIn, flipByte } from '../support/local-store.js';
import { CLEAN } from '../support/stored-snapshot.js';
import {
  expectWhole,
  failingAfter,
  files,
  finding,
  fixture,
  manifest,
  path,
  useVerified,
  verify,
} from '../support/verified-snapshot.js';

const TAKER = { machineId: 'f'.repeat(32), host: 'taker' };

useVerified();

describe('repair', () => {
  it('fills a disk that was replaced by an empty one', async () => {
    await fixture.store.createExclusive(path('state-stubbed'), Buffer.from('{}'), { copies: 3 });
    await rm(fixture.directories[1]!, { recursive: true });
    await mkdir(fixture.directories[1]!);
    await initLocalStore(fixture.path, { replace: fixture.directories[1]!, allowSameDevice: true });
    expect(worstFault(await verify())).toBe('missing');
    await verify({ repair: true });
    expect(await files('state-stubbed')).toHaveLength(3);
    await expectWhole();
  });

  it('replaces corrupt copies', async () => {
    for (const name of ['kernel.0', 'skeleton.0', 'index', MANIFEST_NAME])
      await flipByte((await files(name))[2]!, 30);
    const found = await verify({ repair: true });
    expect(found.repair?.replicated.sort()).toEqual(['index', 'kernel.0', MANIFEST_NAME, 'skeleton.0']);
    expect(worstFault(found)).toBeNull();
    await expectWhole();
  });

  it.each([
    ['rotten', (copy: string) => flipByte(copy)],
    ['empty', (copy: string) => writeFile(copy, '')],
  ])('copies the state record that makes sense, not the one that is %s', async (_, spoil) => {
    await claimWaking(fixture.store, manifest, manifest.owner);
    await takeOver(fixture.store, manifest.snapshot, TAKER);
    for (const name of ['state-waking', 'state-takeover-1']) {
      const [first = '', second = '', third = ''] = await files(name);
      const good = await readFile(second);
      await rm(third);
      await spoil(first);
      await verify({ repair: true, host: TAKER });
      const copies = await Promise.all((await files(name)).map((copy) => readFile(copy)));
      expect(copies, name).toEqual([good, good, good]);
    }
    expect(await findSnapshot(fixture.reopen(), manifest.snapshot)).toMatchObject({ condition: 'whole' });
    await claimWaking(fixture.reopen(), manifest, TAKER);
  });

  it('lets claims of two hosts with different disks be, until a takeover settles them', async () => {
    const [onOwners, onTakers] = fixture.directories.map((one) => LocalStore.fromPath(one));
    await claimWaking(onOwners!, manifest, manifest.owner);
    await claimWaking(onTakers!, manifest, TAKER);
    const copies = (): Promise<Buffer[]> =>
      files('state-waking').then((all) => Promise.all(all.map((copy) => readFile(copy))));
    const before = await copies();
    const found = await verify({ repair: true, host: TAKER });
    expect(await copies()).toEqual(before);
    expect(found.repair?.failed).toMatchObject([{ name: 'state-waking', error: { kind: 'refused' } }]);
    for (const host of [manifest.owner, TAKER])
      await failure(claimWaking(fixture.reopen(), manifest, host), 'refused');
    const [{ detail } = { detail: '' }] = finding(found, 'state-waking').health.faults;
    for (const { host } of [manifest.owner, TAKER]) expect(detail).toContain(host);

    await takeOver(fixture.reopen(), manifest.snapshot, TAKER);
    expect((await verify({ repair: true, host: TAKER })).repair?.failed).toEqual([]);
    expect(worstFault(await verify())).toBeNull();
    await claimWaking(fixture.reopen(), manifest, TAKER);
  });

  it('says what it could not replicate: a disk is away, and no other has room for the copy', async () => {
    await rename(fixture.directories[2]!, `${fixture.directories[2]}-away`);
    await rm((await files('kernel.0'))[0]!);
    const { repair } = await verify({ repair: true });
    expect(repair?.replicated).toEqual([]);
    expect(repair?.failed.find(({ name }) => name === 'kernel.0')?.error.message).toContain(
      '2 of 3 copies are good',
    );
    expect(await files('kernel.0'), 'as far as there are places').toHaveLength(2);
  });

  it('waits for the copies of all objects together no longer than for those of one', async () => {
    for (const name of ['kernel.0', 'skeleton.0', 'index']) await rm((await files(name))[0]!);
    const waits: number[] = [];
    const slow = new Proxy(fixture.store, {
      get: (target, key) => {
        const member: unknown = Reflect.get(target, key);
        if (key !== 'replicate')
          return typeof member === 'function'
            ? (member as (...args: unknown[]) => unknown).bind(target)
            : member;
        return async (_object: StoredObject, { waitMs }: { waitMs: number }) =>
          void (waits.push(waitMs), await sleep(100));
      },
    });
    await verifySnapshot(slow, await findSnapshot(slow, manifest.snapshot), {
      percent: 100,
      repair: true,
      host: manifest.owner,
    });
    expect(waits).toHaveLength(3);
    expect(waits[0]! - waits[2]!).toBeGreaterThanOrEqual(190);
  });

  it('puts a pack together when every copy is corrupt, each somewhere else', async () => {
    const before = await readFile((await files('kernel.0'))[0]!);
    for (const [i, file] of (await files('kernel.0')).entries())
      await flipByte(file, Math.floor(before.length / 4) * i + 100);
    expect(finding(await verify(), 'kernel.0')).toMatchObject({
      condition: 'under-replicated',
      health: { good: 0 },
    });
    const found = await verify({ repair: true });
    expect(found.repair?.rebuilt).toEqual(['kernel.0']);
    expect(worstFault(found)).toBeNull();
    for (const file of await files('kernel.0')) expect((await readFile(file)).equals(before)).toBe(true);
  });

  it('gives up expendable frames that are in no copy, and keeps the others', async () => {
    const [file = ''] = await files('clean-cache.0');
    await flipByte(file, 10);
    const found = await verify({ repair: true });
    expect(found.repair).toMatchObject({ droppedPages: 3, failed: [] });
    expect(worstFault(found)).toBeNull();
    const now = await readManifest(fixture.reopen(), manifest.snapshot);
    expect(now).toMatchObject({ revision: 1, droppedPages: 3 });
    expect(now.objects.map(({ name }) => name)).toContain('clean-cache.1');
    const source = await SnapshotSource.open(fixture.store, now);
    const clean = source.stripes.map(({ frames }) => frames.find(({ kind }) => kind === CLEAN)!);
    expect(clean.map(isStored)).toEqual([false, true, true, true]);
    expect(
      (await filesIn(fixture.directories)).filter((name) => /clean-cache\.0|\/index$/.test(name)),
      'what is no longer needed is gone',
    ).toEqual([]);
    await expectWhole();
  });

  it('does not give up what the guest could not be told of', async () => {
    await rm((await files('clean-cache.0'))[0]!);
    const found = await verify({ repair: true });
    expect(found.repair?.droppedPages).toBe(0);
    expect(worstFault(found)).toBe('missing');
    expect(await readManifest(fixture.store, manifest.snapshot)).toEqual(manifest);
  });

  it("gives up nothing of another host's (R27), nor anything that may come back with its disk", async () => {
    await flipByte((await files('clean-cache.0'))[0]!, 10);
    expect(
      (await verify({ repair: true, host: { machineId: 'f'.repeat(32), host: 'other' } })).repair
        ?.droppedPages,
    ).toBe(0);
    const [holder = ''] = (await files('clean-cache.0')).map((file) =>
      fixture.directories.find((directory) => file.startsWith(directory))!,
    );
    await rename(holder, `${holder}-away`);
    const found = await verify({ repair: true });
    expect(found.repair?.droppedPages).toBe(0);
    expect(finding(found, 'clean-cache.0').condition).toBe('unreachable');
  });

  it(
    'goes by whose the snapshot is after a takeover (R27): the taker gives up what is lost, the one '
      + 'that stored it no more',
    async () => {
      const taker = { machineId: 'f'.repeat(32), host: 'taker' };
      await takeOver(fixture.store, manifest.snapshot, taker);
      await flipByte((await files('clean-cache.0'))[0]!, 10);
      expect((await verify({ repair: true })).repair?.droppedPages).toBe(0);
      expect((await verify({ repair: true, host: taker })).repair?.droppedPages).toBe(3);
    },
  );

  it('never touches critical data that is lost', async () => {
    for (const file of await files('kernel.0')) await flipByte(file, 10);
    const before = await Promise.all((await files('kernel.0')).map((file) => readFile(file)));
    expect(worstFault(await verify({ repair: true }))).toBe('lost');
    expect(await Promise.all((await files('kernel.0')).map((file) => readFile(file)))).toEqual(before);
  });

  it('stopped at any write leaves every page that was there, and the next one finishes', async () => {
    await flipByte((await files('clean-cache.0'))[0]!, 10);
    for (let allowed = 0; ; allowed++) {
      const store = failingAfter(allowed);
      const entry = await findSnapshot(fixture.store, manifest.snapshot);
      const failed = await verifySnapshot(store, entry, {
        percent: 100,
        repair: true,
        host: manifest.owner,
      }).catch((error: unknown) => error);
      const source = await SnapshotSource.open(
        fixture.reopen(),
        await readManifest(fixture.reopen(), manifest.snapshot),
      );
      const readable = await Promise.all(
        source.stripes
          .flatMap(({ frames }) => frames)
          .filter(isStored)
          .map((frame) =>
            source.read(frame).then(
              () => true,
              () => false,
            ),
          ),
      );
      expect(readable.filter((good) => !good).length, `${allowed} writes`).toBeLessThanOrEqual(1);
      expect(
        source.stripes.filter(({ frames }) => isStored(frames.find(({ kind }) => kind === CLEAN)!)).length,
      ).toBeGreaterThanOrEqual(3);
      if (!(failed instanceof Error)) break;
      expect(failed.message).toBe('stopped');
      expect(allowed).toBeLessThan(12);
    }
    expect(worstFault(await verify({ repair: true }))).toBeNull();
    await expectWhole();
  }, 90_000);

  it('is done by one at a time, over all hosts; what a killed one left holds nobody up', async () => {
    await flipByte((await files('kernel.0'))[0]!, 10);
    const lock = {
      machineId: '9'.repeat(32),
      host: 'other',
      time: '2026-11-25T10:00:00.000Z',
      pid: 1,
      processStart: '1',
    };
    const put = (name: string, of: object): Promise<boolean> =>
      fixture.store.createExclusive(path(name), Buffer.from(JSON.stringify(of)), { copies: 1 });
    await put('repair-lock-3', lock);
    expect((await verify({ repair: true })).error).toMatchObject({
      kind: 'busy',
      message: expect.stringContaining('other (9') as string,
    });
    for (const directory of fixture.directories) await utimes(join(directory, path('repair-lock-3')), 0, 0);
    expect(worstFault(await verify({ repair: true }))).toBeNull();
    await flipByte((await files('kernel.0'))[0]!, 10);
    await put('repair-lock-1', { ...lock, machineId: manifest.owner.machineId });
    await put('repair-lock-2', ['garbage']);
    expect(worstFault(await verify({ repair: true }))).toBeNull();
    expect((await fixture.store.list(manifest.snapshot)).filter((name) => name.startsWith('repair'))).toEqual(
      [],
    );
    await flipByte((await files('kernel.0'))[0]!, 10);
    await put('repair-lock-1', {
      ...lock,
      machineId: manifest.owner.machineId,
      processStart: processStart(1),
    });
    expect((await verify({ repair: true })).error).toMatchObject({ kind: 'busy' });
  });

  it('stores an image again that is whole here when critical data of its snapshot is lost', async () => {
    const image = join(fixture.root, 'web.save');
    const small = smallImage({ frames: 2000 });
    await writeFile(image, small.bytes);
    const place = {
      store: fixture.store,
      host: manifest.owner,
      registry: new StubRegistry(join(fixture.root, 'state')),
    };
    const made = await offload(image, place, {
      policy: presetPolicy('pars'),
      policyIsFixed: true,
      keepLocal: true,
      force: false,
      managedSave: true,
      leaseWaitMs: 0,
      level: 1,
    });
    const damaged = await readManifest(fixture.store, made.snapshot);
    await fixture.store.remove(objectPath(made.snapshot, 'skeleton.0'));
    const run = async (): Promise<Verification | null> =>
      verifySnapshot(fixture.reopen(), await findSnapshot(fixture.store, made.snapshot), {
        percent: 100,
        repair: true,
        host: manifest.owner,
        storeAgain: (lost) => storeAgain(lost, place),
      });
    const found = await run();
    expect(found && worstFault(found)).toBe('lost');
    const fresh = await readManifest(fixture.store, found?.storedAnew ?? '');
    expect(fresh).toMatchObject({
      image: { path: image, headDigest: damaged.image.headDigest },
      policy: damaged.policy,
      sequence: damaged.sequence + 1,
    });
    expect((await readFile(image)).equals(small.bytes), 'the image stays').toBe(true);
    await takeOver(fixture.store, made.snapshot, TAKER);
    expect((await run())?.storedAnew, "not of a snapshot that is another host's by now").toBeNull();
    await takeOver(fixture.store, made.snapshot, manifest.owner);
    expect((await run())?.storedAnew).not.toBeNull();
    await writeFile(
      image,
      smallImage({ frames: 2000, xml: domainXml({ uuid: '99999999-2222-3333-4444-555555555555' }) }).bytes,
    );
    expect((await run())?.storedAnew, "not another guest's").toBeNull();
  }, 90_000);

  it('goes by the latest manifest when a disk comes back with an older one', async () => {
    const [first = '', second = ''] = fixture.directories;
    const old = await readFile(join(first, path(MANIFEST_NAME)));
    await flipByte((await files('clean-cache.0'))[0]!, 10);
    await verify({ repair: true });
    for (const directory of [first, second]) await writeFile(join(directory, path(MANIFEST_NAME)), old);
    expect((await readManifest(fixture.reopen(), manifest.snapshot)).revision).toBe(1);
    expect(worstFault(await verify({ repair: true }))).toBeNull();
    expect(await readFile(join(first, path(MANIFEST_NAME)))).not.toEqual(old);
  });
});
