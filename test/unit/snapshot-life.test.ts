// SPDX-License-Identifier: Apache-2.0
/**
 * The life of snapshots in a real local store: claims, takeovers, orphans, retention (R25, R27, R28), and
 * disks that moved on (R26).
 */
import { mkdtempSync, mkdirSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { encodeManifest } from '../../src/snapshot/manifest-codec.js';
import { prune, isOrphaned, type PrunePlace } from '../../src/lifecycle/prune.js';
import { guardRemoval } from '../../src/lifecycle/removal.js';
import {
  claimByForce,
  claimWaking,
  markState,
  refuseConsumed,
  settleStarts,
  takeOver,
} from '../../src/lifecycle/claims.js';
import { lostStubs } from '../../src/image/lost-stubs.js';
import {
  findSnapshot,
  listSnapshots,
  MANIFEST_NAME,
  newSnapshotName,
  objectPath,
} from '../../src/snapshot/snapshots.js';
import { StubRegistry } from '../../src/image/stub-registry.js';
import { encodeStub } from '../../src/image/stub.js';
import { failure, put } from '../contract/store.js';
import { copiesOf, type LocalFixture, localFixture } from '../support/local-store.js';
import { GUEST, sampleManifest } from '../support/manifests.js';

const A = { machineId: 'a'.repeat(32), host: 'host-a' };
const B = { machineId: 'b'.repeat(32), host: 'host-b' };
const C = { machineId: 'c'.repeat(32), host: 'host-c' };
const DAY = 86_400_000;

let fixture: LocalFixture;
let root: string;
let saves: string;

beforeEach(async () => {
  fixture = await localFixture();
  root = mkdtempSync(join(tmpdir(), 'pars-life-'));
  saves = join(root, 'saves');
  mkdirSync(saves);
});
afterEach(async () => {
  await fixture.dispose();
  rmSync(root, { recursive: true, force: true });
});

/** A snapshot of host A's managed save. */
async function commit(
  changes: Partial<Manifest> = {},
  image: Partial<Manifest['image']> = {},
): Promise<Manifest> {
  const base = sampleManifest({ snapshot: newSnapshotName(GUEST), owner: A, ...changes });
  const manifest = { ...base, image: { ...base.image, path: join(saves, 'web.save'), ...image } };
  await put(fixture.store, objectPath(manifest.snapshot, 'skeleton.0'), Buffer.from('pages'), 3);
  await put(fixture.store, objectPath(manifest.snapshot, MANIFEST_NAME), encodeManifest(manifest), 3);
  return manifest;
}

function writeStub({ token, snapshot, image, domain }: Manifest): void {
  const record = encodeStub({
    token,
    domainUuid: domain.uuid,
    imageBytes: image.bytes,
    offset: image.headEnd,
    headDigest: 'c'.repeat(64),
    snapshot,
    storeUrl: 'local:/a',
  });
  writeFileSync(image.path, Buffer.concat([Buffer.alloc(image.headEnd), record]));
}

/** Makes every object of a snapshot, or one, look so old. */
function backdate(name: string, ms: number): void {
  const time = new Date(Date.now() - ms);
  for (const directory of fixture.directories) utimesSync(join(directory, name), time, time);
}

function place(retention: Partial<PrunePlace['retention']> = {}, host = A): PrunePlace {
  const defaults = { keepLast: null, maxAgeMs: null, consumedMs: 7 * DAY, orphanGraceMs: 7 * DAY };
  return {
    store: fixture.store,
    host,
    registry: new StubRegistry(join(root, 'state')),
    retention: { ...defaults, ...retention },
  };
}

/** The store, with something that happens when the first snapshot has been removed. */
function withFirstRemoval(meanwhile: () => Promise<void>): LocalFixture['store'] {
  let happened = false;
  const remove = async (name: string): Promise<void> => {
    await fixture.store.remove(name);
    if (happened || name.endsWith(MANIFEST_NAME)) return;
    happened = true;
    await meanwhile();
  };
  return new Proxy(fixture.store, {
    get: (target, key) => {
      const member: unknown = Reflect.get(target, key);
      return key === 'remove'
        ? remove
        : typeof member === 'function'
          ? (member as (...args: unknown[]) => unknown).bind(target)
          : member;
    },
  });
}

async function names(): Promise<string[]> {
  return (await listSnapshots(fixture.store)).map(({ snapshot }) => snapshot);
}

describe('claims (R27)', () => {
  it("are the same host's again, and nobody else's, who hears whose and since when", async () => {
    const manifest = await commit();
    await claimWaking(fixture.store, manifest, A);
    await claimWaking(fixture.store, manifest, A);
    const error = await failure(claimWaking(fixture.store, manifest, B), 'refused');
    expect(error.message).toMatch(/host-a \(a{32}\), \d{4}-\d\d-\d\dT/);
    expect(error.hint).toContain(`pars takeover ${manifest.snapshot}`);
  });

  it('are won by exactly one of many hosts that come at once', async () => {
    const manifest = await commit();
    const hosts = Array.from({ length: 8 }, (_, i) => ({
      machineId: String(i).repeat(32),
      host: `host-${i}`,
    }));
    const results = await Promise.allSettled(
      hosts.map((host) => claimWaking(fixture.reopen(), manifest, host)),
    );
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  it('go over by a takeover, and back by another', async () => {
    const manifest = await commit();
    await claimWaking(fixture.store, manifest, A);
    expect(await takeOver(fixture.store, manifest.snapshot, B)).toMatchObject({
      taken: true,
      before: { machineId: A.machineId, since: expect.any(String) as string },
    });
    await claimWaking(fixture.store, manifest, B);
    await failure(claimWaking(fixture.store, manifest, A), 'refused');
    expect(await takeOver(fixture.store, manifest.snapshot, B)).toMatchObject({ taken: false });
    expect(await takeOver(fixture.store, manifest.snapshot, A)).toMatchObject({
      taken: true,
      before: { machineId: B.machineId },
    });
    await claimWaking(fixture.store, manifest, A);
    await failure(claimWaking(fixture.store, manifest, B), 'refused');
  });

  it('are made by force too, so that a third host does not wake the guest for free', async () => {
    const manifest = await commit();
    await claimWaking(fixture.store, manifest, A);
    await claimByForce(fixture.store, manifest, B);
    await claimByForce(fixture.store, manifest, B);
    expect((await fixture.store.list(manifest.snapshot)).filter((name) => name.startsWith('state-'))).toEqual(
      ['state-takeover-1', 'state-waking'],
    );
    for (const host of [A, C])
      expect((await failure(claimWaking(fixture.store, manifest, host), 'refused')).message).toContain(
        'host-b',
      );
    await markState(fixture.store, manifest, 'consumed', B);
    await claimByForce(fixture.store, manifest, C);
  });

  it('that cannot be read are no leave to wake', async () => {
    const manifest = await commit();
    await put(fixture.store, objectPath(manifest.snapshot, 'state-waking'), Buffer.from('garbage'), 3);
    await failure(claimWaking(fixture.store, manifest, B), 'corrupt');
  });

  it('of a consumed snapshot are not taken over (R25)', async () => {
    const manifest = await commit();
    await markState(fixture.store, manifest, 'consumed', A);
    await failure(takeOver(fixture.store, manifest.snapshot, B), 'refused');
  });

  it('taken over make the taker the owner', async () => {
    const manifest = await commit();
    await takeOver(fixture.store, manifest.snapshot, B);
    const entry = await findSnapshot(fixture.store, manifest.snapshot);
    await failure(guardRemoval(entry, place(), { force: false }), 'refused');
    await guardRemoval(entry, place({}, B), { force: false });
    await failure(guardRemoval(entry, place({}, C), { force: true, owner: A.machineId }), 'refused');
  });
});

describe('a start without the stub', () => {
  it('leaves the stub known as consumed, and nobody misses it when it is dropped', async () => {
    const manifest = await commit();
    const { token, snapshot, image, domain } = manifest;
    writeStub(manifest);
    const registry = new StubRegistry(join(root, 'state'));
    await registry.add({ image: image.path, snapshot, token, domainUuid: domain.uuid, managedSave: true });
    mkdirSync(join(root, 'state/started'));
    writeFileSync(join(root, 'state/started', domain.uuid), '');
    await settleStarts(fixture.store, registry, A);
    expect(await registry.all()).toMatchObject([{ snapshot, consumed: true }]);
    await expect(refuseConsumed(fixture.store, manifest)).rejects.toMatchObject({
      kind: 'refused',
      hint: expect.stringContaining('virsh managedsave-remove') as string,
    });
    rmSync(image.path);
    expect(await lostStubs(registry)).toEqual([]);
  });
});

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
