// SPDX-License-Identifier: Apache-2.0
/** Snapshots of three hosts' managed saves, to be claimed, taken over and pruned. */
import { mkdtempSync, mkdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { encodeManifest } from '../../src/snapshot/manifest-codec.js';
import { type PrunePlace } from '../../src/lifecycle/prune.js';
import { listSnapshots, MANIFEST_NAME, newSnapshotName, objectPath } from '../../src/snapshot/snapshots.js';
import { StubRegistry } from '../../src/image/stub-registry.js';
import { encodeStub } from '../../src/image/stub.js';
import { put } from '../contract/store.js';
import { type LocalFixture, localFixture } from './local-store.js';
import { GUEST, sampleManifest } from './manifests.js';

export const A = { machineId: 'a'.repeat(32), host: 'host-a' };
export const B = { machineId: 'b'.repeat(32), host: 'host-b' };
export const C = { machineId: 'c'.repeat(32), host: 'host-c' };
export const DAY = 86_400_000;

export let fixture: LocalFixture;
export let root: string;
export let saves: string;

/** A store and a directory of saves for each test of the file that calls this. */
export function useOwnedSnapshots(): void {
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
}

/** A snapshot of host A's managed save. */
export async function commit(
  changes: Partial<Manifest> = {},
  image: Partial<Manifest['image']> = {},
): Promise<Manifest> {
  const base = sampleManifest({ snapshot: newSnapshotName(GUEST), owner: A, ...changes });
  const manifest = { ...base, image: { ...base.image, path: join(saves, 'web.save'), ...image } };
  await put(fixture.store, objectPath(manifest.snapshot, 'skeleton.0'), Buffer.from('pages'), 3);
  await put(fixture.store, objectPath(manifest.snapshot, MANIFEST_NAME), encodeManifest(manifest), 3);
  return manifest;
}

export function writeStub({ token, snapshot, image, domain }: Manifest): void {
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
export function backdate(name: string, ms: number): void {
  const time = new Date(Date.now() - ms);
  for (const directory of fixture.directories) utimesSync(join(directory, name), time, time);
}

export function place(retention: Partial<PrunePlace['retention']> = {}, host = A): PrunePlace {
  const defaults = { keepLast: null, maxAgeMs: null, consumedMs: 7 * DAY, orphanGraceMs: 7 * DAY };
  return {
    store: fixture.store,
    host,
    registry: new StubRegistry(join(root, 'state')),
    retention: { ...defaults, ...retention },
  };
}

/** The store, with something that happens when the first snapshot has been removed. */
export function withFirstRemoval(meanwhile: () => Promise<void>): LocalFixture['store'] {
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

export async function names(): Promise<string[]> {
  return (await listSnapshots(fixture.store)).map(({ snapshot }) => snapshot);
}
