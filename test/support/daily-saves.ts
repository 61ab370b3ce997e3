// SPDX-License-Identifier: Apache-2.0
/**
 * A guest that is saved every evening and started every morning, on a store with room for three images. Days
 * pass by the store's clock, which is stood in for. Within useOwnedSnapshots.
 */
import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { markState, settleStarts } from '../../src/lifecycle/claims.js';
import { makeRoom, tidyAfterRun, type TidyPlace } from '../../src/queue/tidy.js';
import { listSnapshots, stateObject } from '../../src/snapshot/snapshots.js';
import { A, commit, DAY, fixture, names, place, root, writeStub } from './owned-snapshots.js';

type Terms = Partial<TidyPlace['retention']>;

export const stateDir = (): string => join(root, 'state');

export function tidyPlace(retention: Terms = {}): TidyPlace {
  const base = place(retention);
  return { ...base, stateDir: stateDir(), retention: { automatic: true, ...base.retention, ...retention } };
}

/** Bytes in the store, over all copies. */
function storedBytes(): number {
  const sizes = fixture.directories.map((directory) =>
    readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name !== 'pars-store.json')
      .map((entry) => statSync(join(entry.parentPath, entry.name)).size),
  );
  return sizes.flat().reduce((sum, size) => sum + size, 0);
}

/** Throws where a save does not fit, or what a stub needs is gone. */
export async function dailySaves(days: number, retention: Terms): Promise<void> {
  let today = 0;
  const madeOn = new Map<string, number>();
  const store = new Proxy(fixture.store, {
    get(target, key) {
      if (key === 'age')
        return async (name: string): Promise<number> => (today - (madeOn.get(name) ?? today)) * DAY;
      const member: unknown = Reflect.get(target, key);
      return typeof member === 'function' ? (member as () => unknown).bind(target) : member;
    },
  });
  const at = (): TidyPlace => ({ ...tidyPlace(retention), store });
  let quota = Infinity;
  for (today = 0; today < days; today++) {
    rmSync(join(stateDir(), 'tidied.json'), { force: true });
    const before = storedBytes();
    const save = { sequence: today + 1, token: today.toString(16).padStart(32, '0') };
    if (before + quota / 3 > quota) expect(await makeRoom(at()), `room on day ${today}`).not.toBeNull();
    const manifest = await commit(save);
    if (today === 0) quota = 3.3 * storedBytes();
    expect(storedBytes(), `on day ${today}`).toBeLessThanOrEqual(quota);
    await markState(store, manifest, 'stubbed', A);
    writeStub(manifest);
    const { image, snapshot, token, domain } = manifest;
    const stub = { image: image.path, snapshot, token, domainUuid: domain.uuid, managedSave: true };
    await at().registry.add(stub);
    await tidyAfterRun(at());
    expect(await names(), 'what the stub needs').toContain(snapshot);
    await at().registry.add({ ...stub, refilled: '1:2' });
    rmSync(image.path);
    mkdirSync(join(stateDir(), 'started'), { recursive: true });
    writeFileSync(join(stateDir(), 'started', domain.uuid), '');
    await settleStarts(store, at().registry, A);
    madeOn.set(stateObject(snapshot, 'consumed'), today);
  }
  expect((await listSnapshots(store)).length).toBeLessThanOrEqual(3);
}
