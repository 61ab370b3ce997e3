// SPDX-License-Identifier: Apache-2.0
/**
 * A managed save that was discarded: its guest was started without it, or not at all. The memory stays in the
 * store for a while, what is said of it is true, and it is given back while the disks are as they were (R26,
 * R28, R30).
 */
import { mkdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { recordDisks } from '../../src/disks/record.js';
import { lostStubs } from '../../src/image/lost-stubs.js';
import { StubRegistry } from '../../src/image/stub-registry.js';
import { markState, settleStarts } from '../../src/lifecycle/claims.js';
import { discardedState, prune } from '../../src/lifecycle/prune.js';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { findSnapshot, newSnapshotName, objectPath, stateObject } from '../../src/snapshot/snapshots.js';
import { hostStatus } from '../../src/status/host-status.js';
import { put } from '../contract/store.js';
import { namedDisk } from '../support/named-disk.js';
import {
  A,
  backdate,
  commit,
  DAY,
  fixture,
  names,
  place,
  root,
  saves,
  useOwnedSnapshots,
  writeStub,
} from '../support/owned-snapshots.js';

useOwnedSnapshots();

const registry = (): StubRegistry => new StubRegistry(join(root, 'state'));

/** A stub whose guest has a disk that is there. */
async function stubbed(): Promise<Manifest> {
  const disk = join(root, 'disk.img');
  writeFileSync(disk, 'disk');
  const disks = await recordDisks([namedDisk({ source: disk })], { askLibvirt: false });
  const manifest = await commit({ disks });
  writeStub(manifest);
  await markState(fixture.store, manifest, 'stubbed', A);
  const { snapshot, token, image, domain } = manifest;
  await registry().add({ image: image.path, snapshot, token, domainUuid: domain.uuid, managedSave: true });
  return manifest;
}

/** What the hook notes. */
async function start({ domain }: Manifest): Promise<void> {
  mkdirSync(join(root, 'state/started'), { recursive: true });
  writeFileSync(join(root, 'state/started', domain.uuid), '');
  await settleStarts(fixture.store, registry(), A);
}

async function listed({ snapshot }: Manifest): Promise<unknown> {
  return discardedState(await findSnapshot(fixture.store, snapshot), A, place());
}

async function reason(): Promise<string | undefined> {
  return (await prune(place(), { yes: false })).removable[0]?.reason;
}

function touchDisk(): void {
  utimesSync(join(root, 'disk.img'), new Date(), new Date());
}

describe('a managed save that was discarded', () => {
  it('is named as booted without, kept for orphan_grace, and not longer', async () => {
    const manifest = await stubbed();
    // The claim of a start that failed, while the store was away.
    await markState(fixture.store, manifest, 'waking', A);
    rmSync(manifest.image.path);
    await start(manifest);
    expect(await reason()).toBe('discarded');
    expect(await hostStatus(join(root, 'state'), saves)).toMatchObject({
      lost: [],
      discarded: [{ snapshot: manifest.snapshot }],
    });
    const short = place({ consumedMs: 0 });
    expect((await prune(short, { yes: true, pressed: true })).removed).toEqual([]);
    backdate(stateObject(manifest.snapshot, 'consumed'), 8 * DAY);
    expect((await prune(short, { yes: true })).removed).toEqual([manifest.snapshot]);
    expect(await names()).toEqual([]);
    expect(await registry().discarded()).toEqual([]);
  });

  it('is listed with what became of the disk, whether or not its guest was started', async () => {
    const manifest = await stubbed();
    expect(await listed(manifest)).toBeNull();
    rmSync(manifest.image.path);
    expect(await lostStubs(registry())).toHaveLength(1);
    const before = await listed(manifest);
    expect(before).toEqual({ diskMovedOn: false });
    await start(manifest);
    expect(await listed(manifest)).toEqual(before);
    touchDisk();
    expect(await listed(manifest)).toEqual({ diskMovedOn: true });
  });
});

describe('a managed save that was resumed', () => {
  it('is consumed, not discarded', async () => {
    const manifest = await stubbed();
    const [stub] = await registry().all();
    await registry().add({ ...stub!, refilled: '1:2' });
    rmSync(manifest.image.path);
    await start(manifest);
    expect(await reason()).toBe('consumed');
    expect(await listed(manifest)).toBeNull();
    expect(await registry().discarded()).toEqual([]);
    expect((await prune(place(), { yes: true, pressed: true })).removed).toEqual([manifest.snapshot]);
  });
});

it('is none whose offload was killed: its guest was started from the whole image', async () => {
  const { domain, image } = await commit();
  const snapshot = newSnapshotName(domain.uuid);
  const note = { image: image.path, snapshot, token: '9'.repeat(32), domainUuid: domain.uuid };
  await registry().add({ ...note, managedSave: true });
  await put(fixture.store, objectPath(snapshot, 'skeleton.0'), Buffer.from('pages'), 3);
  mkdirSync(join(root, 'state/started'), { recursive: true });
  writeFileSync(join(root, 'state/started', domain.uuid), '');
  await settleStarts(fixture.store, registry(), A);
  expect(await lostStubs(registry())).toEqual([]);
});
