// SPDX-License-Identifier: Apache-2.0
/** What prune removes, and what it never does (R28). */
import { renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodeManifest } from '../../src/snapshot/manifest-codec.js';
import { prune, isOrphaned } from '../../src/lifecycle/prune.js';
import { guardRemoval } from '../../src/lifecycle/removal.js';
import { markState, takeOver } from '../../src/lifecycle/claims.js';
import {
  findSnapshot,
  MANIFEST_NAME,
  newSnapshotName,
  objectPath,
  stateObject,
} from '../../src/snapshot/snapshots.js';
import { failure, put } from '../contract/store.js';
import { smallImage } from '../support/image-builder.js';
import { copiesOf } from '../support/local-store.js';
import { GUEST, sampleManifest } from '../support/manifests.js';
import {
  A,
  B,
  backdate,
  commit,
  DAY,
  fixture,
  names,
  place,
  root,
  saves,
  useOwnedSnapshots,
  withFirstRemoval,
  writeStub,
} from '../support/owned-snapshots.js';

useOwnedSnapshots();

describe('prune (R28)', () => {
  it('removes consumed snapshots after their time, and only with yes', async () => {
    const manifest = await commit();
    await markState(fixture.store, manifest, 'consumed', A);
    expect((await prune(place(), { yes: true })).removed).toEqual([]);
    backdate(objectPath(manifest.snapshot, 'state-consumed'), 8 * DAY);
    expect(await prune(place(), { yes: false })).toMatchObject({
      removable: [{ reason: 'consumed', dueInMs: 0 }],
      removed: [],
    });
    expect(await names()).toEqual([manifest.snapshot]);
    expect((await prune(place({}, B), { yes: true })).removed).toEqual([]);
    expect((await prune(place(), { yes: true })).removed).toEqual([manifest.snapshot]);
    expect(await fixture.store.list('')).toEqual([]);
  });

  it('counts the grace of an orphan from when it was first seen to be one', async () => {
    const manifest = await commit();
    await markState(fixture.store, manifest, 'stubbed', A);
    backdate(objectPath(manifest.snapshot, MANIFEST_NAME), 99 * DAY);
    expect(await isOrphaned(await findSnapshot(fixture.store, manifest.snapshot), A, place())).toBe(true);
    expect((await prune(place(), { yes: true, orphans: true })).removable).toMatchObject([
      { reason: 'orphan', dueInMs: expect.closeTo(7 * DAY, -5) as number },
    ]);
    backdate(objectPath(manifest.snapshot, 'state-orphan'), 8 * DAY);
    writeStub(manifest);
    expect((await prune(place(), { yes: true })).removable).toEqual([]);
    rmSync(manifest.image.path);
    expect((await prune(place(), { yes: true })).removed, 'the grace begins again').toEqual([]);
    backdate(objectPath(manifest.snapshot, 'state-orphan'), 8 * DAY);
    expect((await prune(place(), { yes: true })).removed, 'age alone is no reason (R30)').toEqual([]);
    expect((await prune(place(), { yes: true, orphans: true })).removed).toEqual([manifest.snapshot]);
  });

  it('takes an orphan by its age once a later managed save of the guest became a stub', async () => {
    const manifest = await commit();
    await markState(fixture.store, manifest, 'stubbed', A);
    const later = await commit({ sequence: 2, token: '9'.repeat(32) }, { path: join(saves, 'renamed.save') });
    const judged = async (): Promise<unknown> =>
      (await prune(place({ orphanGraceMs: 0 }), { yes: false })).removable;
    expect(await judged(), 'that one was stored and never became a stub').toMatchObject([
      { reason: 'orphan', dueInMs: null },
    ]);
    writeStub(later);
    await markState(fixture.store, later, 'stubbed', A);
    expect(await judged()).toMatchObject([{ snapshot: manifest.snapshot, reason: 'orphan', dueInMs: 0 }]);
  });

  it(
    'never takes what a stub needs, wherever this host has met it; nor a file of virsh save; nor with '
      + 'the saves not mounted',
    async () => {
      const stubbed = await commit({ token: '1'.repeat(32) });
      writeStub(stubbed);
      const moved = await commit({ token: '2'.repeat(32) }, { path: join(saves, 'moved.save') });
      const now = join(root, 'elsewhere.save');
      writeStub({ ...moved, image: { ...moved.image, path: now } });
      await place().registry.add({
        image: now,
        snapshot: moved.snapshot,
        token: moved.token,
        domainUuid: GUEST,
        managedSave: true,
      });
      const byHand = await commit(
        { token: '3'.repeat(32) },
        { path: join(saves, 'by-hand'), managedSave: false },
      );
      const unmounted = await commit({ token: '4'.repeat(32) }, { path: join(root, 'none', 'web.save') });
      const all = [stubbed, moved, byHand, unmounted];
      for (const manifest of all) await markState(fixture.store, manifest, 'stubbed', A);
      expect(
        (await prune(place({ orphanGraceMs: 0, keepLast: 1, maxAgeMs: 0 }), { yes: true })).removed,
      ).toEqual([]);
      expect(await names()).toHaveLength(all.length);
      const refusal = await failure(
        guardRemoval(await findSnapshot(fixture.store, moved.snapshot), place(), { force: false }),
        'refused',
      );
      expect(refusal.message, 'rm looks there too').toContain(`${now} is a stub`);
    },
  );

  it(
    'leaves a resumed snapshot whose image stands there whole, as list does, and calls it an orphan when '
      + 'the image is gone or of another save',
    async () => {
      const manifest = await commit();
      for (const state of ['stubbed', 'waking'] as const) await markState(fixture.store, manifest, state, A);
      const opinions = async (): Promise<[list: boolean, prune: string | undefined]> => {
        const { removable } = await prune(place(), { yes: false });
        return [
          await isOrphaned(await findSnapshot(fixture.store, manifest.snapshot), A, place()),
          removable[0]?.reason,
        ];
      };
      writeFileSync(manifest.image.path, Buffer.alloc(manifest.image.headEnd + 4096));
      expect(await opinions()).toEqual([false, undefined]);
      writeStub({ ...manifest, token: 'e'.repeat(32) });
      expect(await opinions()).toEqual([true, 'orphan']);
      rmSync(manifest.image.path);
      expect(await opinions()).toEqual([true, 'orphan']);
    },
  );

  it('keeps the last copies of a guest, and the young', async () => {
    const copies = [];
    for (let i = 1; i <= 4; i++) copies.push(await commit({ sequence: i, token: String(i).repeat(32) }));
    backdate(objectPath(copies[0]!.snapshot, MANIFEST_NAME), 30 * DAY);
    expect((await prune(place(), { yes: true })).removed).toEqual([]);
    expect((await prune(place({ keepLast: 2, maxAgeMs: 10 * DAY }), { yes: true })).removed).toEqual([
      copies[0]!.snapshot,
    ]);
    expect((await prune(place({ keepLast: 2 }), { yes: true })).removed).toEqual([copies[1]!.snapshot]);
  });

  it('judges each once more before it goes: what was taken over or committed meanwhile stays', async () => {
    const [first, taken] = [
      await commit({ token: '1'.repeat(32), sequence: 1 }),
      await commit({ token: '2'.repeat(32), sequence: 2 }),
    ];
    const other = '99999999-2222-3333-4444-555555555555';
    const late = sampleManifest({ snapshot: newSnapshotName(other), owner: B });
    await put(fixture.store, objectPath(late.snapshot, 'skeleton.0'), Buffer.from('x'), 3);
    backdate(objectPath(late.snapshot, 'skeleton.0'), 8 * DAY);
    const strict = place({ keepLast: 0 });
    expect((await prune(strict, { yes: false })).removable.map(({ dueInMs }) => dueInMs)).toEqual([0, 0, 0]);
    const meanwhile = async (): Promise<void> => {
      await takeOver(fixture.store, taken.snapshot, B);
      await put(fixture.store, objectPath(late.snapshot, MANIFEST_NAME), encodeManifest(late), 3);
    };
    const { removed, removable } = await prune(
      { ...strict, store: withFirstRemoval(meanwhile) },
      { yes: true },
    );
    expect(removed).toEqual([first.snapshot]);
    expect(removable.map(({ snapshot }) => snapshot)).toEqual([first.snapshot]);
    expect((await names()).sort()).toEqual([taken.snapshot, late.snapshot].sort());
  });

  it('removes nothing more when a place goes missing meanwhile', async () => {
    const fragments = [newSnapshotName(GUEST), newSnapshotName(GUEST)];
    for (const snapshot of fragments) {
      await put(fixture.store, objectPath(snapshot, 'skeleton.0'), Buffer.from('x'), 3);
      backdate(objectPath(snapshot, 'skeleton.0'), 8 * DAY);
    }
    const away = `${fixture.directories[2]!}.away`;
    await failure(
      prune(
        { ...place(), store: withFirstRemoval(async () => renameSync(fixture.directories[2]!, away)) },
        { yes: true },
      ),
      'unreachable',
    );
    renameSync(away, fixture.directories[2]!);
    const left = await names();
    expect(left).toHaveLength(1);
    expect(await copiesOf(fixture.directories, objectPath(left[0]!, 'skeleton.0'))).toHaveLength(3);
  });

  it('leaves an upload without a manifest for a day, however short the grace', async () => {
    const snapshot = newSnapshotName(GUEST);
    await put(fixture.store, objectPath(snapshot, 'skeleton.0'), Buffer.from('x'), 3);
    backdate(objectPath(snapshot, 'skeleton.0'), DAY - 3_600_000);
    expect((await prune(place({ orphanGraceMs: 60_000 }), { yes: true })).removed).toEqual([]);
    backdate(objectPath(snapshot, 'skeleton.0'), DAY + 3_600_000);
    expect((await prune(place({ orphanGraceMs: 60_000 }), { yes: true })).removed).toEqual([snapshot]);
  });

  it('removes old fragments and leftovers, and nothing while a place is missing', async () => {
    const snapshot = newSnapshotName(GUEST);
    await put(fixture.store, objectPath(snapshot, 'skeleton.0'), Buffer.from('x'), 3);
    const leftover = join(snapshot, '.skeleton.1.0123456789ab.tmp');
    writeFileSync(join(fixture.directories[0]!, leftover), 'x');
    expect(await prune(place(), { yes: true })).toMatchObject({ removed: [], leftovers: 0 });
    backdate(objectPath(snapshot, 'skeleton.0'), 8 * DAY);
    renameSync(fixture.directories[2]!, `${fixture.directories[2]!}.away`);
    await failure(prune(place(), { yes: true }), 'unreachable');
    renameSync(`${fixture.directories[2]!}.away`, fixture.directories[2]!);
    utimesSync(join(fixture.directories[0]!, leftover), new Date(0), new Date(0));
    expect(await prune(place(), { yes: false })).toMatchObject({ removed: [], leftovers: 1 });
    expect(await prune(place(), { yes: true })).toMatchObject({ removed: [snapshot] });
    expect(await fixture.store.list('')).toEqual([]);
  });
});

it('an upload in its first pack is not pruned, however short the grace', async () => {
  const writer = await fixture.store.create(objectPath(newSnapshotName(GUEST), 'skeleton.0'), {
    copies: 3,
    critical: true,
  });
  await writer.write(Buffer.from('x'));
  expect(await prune({ ...place({ orphanGraceMs: 60_000 }) }, { yes: true })).toEqual({
    removable: [],
    removed: [],
    leftovers: 0,
  });
  expect(await writer.close()).toMatchObject({ copies: 3 });
});

it('an upload under way loses neither its note nor its files, however short the grace', async () => {
  const { registry } = place();
  const snapshot = newSnapshotName(GUEST);
  const image = join(saves, 'web.save');
  const token = '1'.repeat(32);
  writeFileSync(image, smallImage().bytes);
  await registry.add({ image, snapshot, token, domainUuid: GUEST, managedSave: true });
  await put(fixture.store, objectPath(snapshot, 'skeleton.0'), Buffer.from('x'), 3);
  const temporary = join(fixture.directories[0]!, snapshot, '.skeleton.1.0123456789ab.tmp');
  writeFileSync(temporary, 'x');
  const note = join(root, 'state', 'stubs', `${GUEST}.${token}.json`);
  const age = (ms: number): void => {
    for (const path of [note, temporary])
      utimesSync(path, new Date(Date.now() - ms), new Date(Date.now() - ms));
  };
  const elsewhere = { ...place({ orphanGraceMs: 1000 }), store: withoutListing(snapshot) };
  age(DAY - 3_600_000);
  expect(await prune(elsewhere, { yes: true })).toMatchObject({ leftovers: 0 });
  expect(await registry.all()).toMatchObject([{ snapshot }]);
  age(DAY + 3_600_000);
  expect(await prune(elsewhere, { yes: true })).toMatchObject({ leftovers: 1 });
  expect(await registry.all()).toEqual([]);
});

/** The store as it was listed before the upload of this snapshot began. */
function withoutListing(snapshot: string): typeof fixture.store {
  return new Proxy(fixture.store, {
    get(target, key) {
      const member: unknown = Reflect.get(target, key);
      if (typeof member !== 'function') return member;
      if (key !== 'list') return member.bind(target) as unknown;
      return async (...words: Parameters<typeof target.list>) =>
        (await target.list(...words)).filter((name) => !snapshot.includes(name));
    },
  });
}

describe('what goes while it is judged', () => {
  /** The store, in which it goes right before its age is asked. */
  function goingBeforeItsAge(snapshot: string): typeof fixture.store {
    const age = async (name: string): Promise<number> => {
      if (name.startsWith(snapshot)) await fixture.store.remove(snapshot);
      return fixture.store.age(name);
    };
    return new Proxy(fixture.store, {
      get: (target, key) => {
        const member: unknown = key === 'age' ? age : Reflect.get(target, key);
        return typeof member === 'function' ? (member as () => unknown).bind(target) : member;
      },
    });
  }

  async function consumed(): Promise<string> {
    const manifest = await commit();
    for (const state of ['stubbed', 'waking', 'consumed'] as const)
      await markState(fixture.store, manifest, state, A);
    backdate(stateObject(manifest.snapshot, 'consumed'), 8 * DAY);
    return manifest.snapshot;
  }

  it('ends no prune: a fragment that its own upload withdrew, or another host pruned', async () => {
    const due = await consumed();
    const fragment = newSnapshotName(GUEST);
    await put(fixture.store, objectPath(fragment, 'kernel.0'), Buffer.from('pages'), 3);
    const store = goingBeforeItsAge(fragment);
    expect((await prune({ ...place(), store }, { yes: true })).removed).toEqual([due]);
    expect(await names()).toEqual([]);
  });

  it('nor does a snapshot that somebody removed', async () => {
    const [gone, due] = [await consumed(), await consumed()];
    const store = goingBeforeItsAge(gone);
    expect((await prune({ ...place(), store }, { yes: true })).removed).toEqual([due]);
    expect(await names()).toEqual([]);
  });
});
