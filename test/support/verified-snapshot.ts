// SPDX-License-Identifier: Apache-2.0
/** One snapshot in a local store, to be damaged, verified and repaired. */
import { afterEach, beforeEach } from 'vitest';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { native } from '../../src/native.js';
import { SnapshotSource } from '../../src/snapshot/snapshot-source.js';
import { findSnapshot, objectPath, readManifest } from '../../src/snapshot/snapshots.js';
import { nodeFiles } from '../../src/stores/local/files.js';
import type { ObjectWriter, Store } from '../../src/stores/store.js';
import { isStored } from '../../src/snapshot/index-table.js';
import { verifySnapshot, type Verification } from '../../src/health/verify.js';
import { copiesOf, localFixture, type LocalFixture } from './local-store.js';
import { storeSnapshot } from './stored-snapshot.js';

export let fixture: LocalFixture;
export let manifest: Manifest;

/** A stored snapshot for each test of the file that calls this. */
export function useVerified(): void {
  beforeEach(async () => {
    fixture = await localFixture(nodeFiles, native());
    manifest = await storeSnapshot(fixture.store);
  });
  afterEach(async () => {
    for (const writer of abandoned.splice(0)) await writer.abort();
    await fixture.dispose();
  });
}

/** Writers of programs that ended: their files stay until the test is over. */
export const abandoned: ObjectWriter[] = [];

export const path = (object: string): string => objectPath(manifest.snapshot, object);
export const files = (object: string): Promise<string[]> => copiesOf(fixture.directories, path(object));

export async function verify(
  options: { percent?: number; repair?: boolean; host?: Manifest['owner'] | null } = {},
): Promise<Verification> {
  const store = fixture.reopen();
  const entry = await findSnapshot(store, manifest.snapshot);
  const found = await verifySnapshot(store, entry, {
    percent: 100,
    repair: false,
    host: manifest.owner,
    ...options,
  });
  if (!found) throw new Error('there is no snapshot');
  return found;
}

export function finding(
  verification: Verification,
  name: string,
): NonNullable<Verification['health']>['findings'][number] {
  const found = verification.health?.findings.find((one) => one.name === name);
  if (!found) throw new Error(`nothing was found of ${name}`);
  return found;
}

/**
 * Every frame that the index says is stored can be read, and every object the manifest names is there as
 * often as it should.
 */
export async function expectWhole(): Promise<void> {
  const now = await readManifest(fixture.store, manifest.snapshot);
  const source = await SnapshotSource.open(fixture.store, now);
  for (const frame of source.stripes.flatMap(({ frames }) => frames).filter(isStored))
    await source.read(frame);
  for (const object of now.objects) await fixture.store.verify({ ...object, name: path(object.name) });
}

/** The store as another program opens it, with something of it replaced. */
export function standingIn(replaced: Partial<Store>, store: Store = fixture.reopen()): Store {
  return new Proxy(store, {
    get: (target, key) => {
      const member: unknown = replaced[key as keyof Store] ?? Reflect.get(target, key);
      return typeof member === 'function' ? (member as () => unknown).bind(target) : member;
    },
  });
}

/** The store of a program that ends after so many changes: nothing happens after, not even cleaning up. */
export function failingAfter(allowed: number): Store {
  let left = allowed;
  const change = <T>(work: () => Promise<T>): Promise<T> =>
    left-- > 0 ? work() : Promise.reject(new Error('stopped'));
  const store = fixture.reopen();
  const replaced: Partial<Store> = {
    create: (...args) =>
      change(async () => {
        const writer = await store.create(...args);
        abandoned.push(writer);
        return {
          write: (data) => writer.write(data),
          close: () => change(() => writer.close()),
          abort: async () => {},
        };
      }),
    remove: (name) => change(() => store.remove(name)),
  };
  return standingIn(replaced, store);
}
