// SPDX-License-Identifier: Apache-2.0
/**
 * A verification takes hours. What others prune, repair or take back meanwhile is no damage; what a disk
 * loses meanwhile is.
 */
import { rename, rm } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { claimWaking, unclaim } from '../../src/lifecycle/claims.js';
import { type Verification, verifySnapshot, worstFault } from '../../src/health/verify.js';
import { encodeManifest } from '../../src/snapshot/manifest-codec.js';
import { findSnapshot, MANIFEST_NAME, readManifest, removeSnapshot } from '../../src/snapshot/snapshots.js';
import type { Store } from '../../src/stores/store.js';
import { put } from '../contract/store.js';
import { flipByte } from '../support/local-store.js';
import {
  files,
  fixture,
  manifest,
  path,
  standingIn,
  useVerified,
  verify,
} from '../support/verified-snapshot.js';

useVerified();

/** The store, where that happens after each reading of this object, `often` times. */
function afterReading(object: string, meanwhile: () => Promise<unknown>, often = 1): Store {
  const store = fixture.reopen();
  const readWhole: Store['readWhole'] = async (...args) => {
    const data = await store.readWhole(...args);
    if (args[0] === path(object) && often-- > 0) await meanwhile();
    return data;
  };
  return standingIn({ readWhole }, store);
}

async function verified(store: Store, changes: { repair?: boolean } = {}): Promise<Verification | null> {
  const entry = await findSnapshot(fixture.store, manifest.snapshot);
  const host = manifest.owner;
  return verifySnapshot(store, entry, { percent: 100, repair: false, host, removalMs: 500, ...changes });
}

const remove = (): Promise<void> => removeSnapshot(fixture.store, manifest.snapshot);
const missing = async (): Promise<void> => {
  for (const file of await files(MANIFEST_NAME)) await rm(file);
};

/** What another host's repair leaves: the manifest with the next revision. */
async function rewrite(): Promise<void> {
  const now = await readManifest(fixture.store, manifest.snapshot);
  await put(fixture.store, path(MANIFEST_NAME), encodeManifest({ ...now, revision: now.revision + 1 }), 3);
}

it('finds nothing wrong with what was pruned after it was listed', async () => {
  const entry = await findSnapshot(fixture.store, manifest.snapshot);
  await remove();
  const options = { percent: 100, repair: false, host: manifest.owner };
  expect(await verifySnapshot(fixture.reopen(), entry, options)).toBeNull();
});

it.each([false, true])('nor with what is pruned while it is read (repair: %s)', async (repair) => {
  expect(await verified(afterReading(MANIFEST_NAME, remove), { repair })).toBeNull();
  expect(await fixture.store.list('')).toEqual([]);
});

it('gives what is pruned while it is repaired no manifest again', async () => {
  await flipByte((await files('clean-cache.0'))[0]!, 10);
  const store = fixture.reopen();
  const verifyWritten: Store['verify'] = async (object) => {
    await store.verify(object);
    if (object.name.includes('/index-')) await remove();
  };
  expect(await verified(standingIn({ verify: verifyWritten }, store), { repair: true })).toBeNull();
  expect(await fixture.store.list('')).toEqual([]);
});

it('waits for a prune that has begun', async () => {
  let ended: Promise<void> | undefined;
  const begin = async (): Promise<void> => {
    await missing();
    ended = new Promise((resolve) => setTimeout(resolve, 100)).then(remove);
  };
  await flipByte((await files('kernel.0'))[0]!, 20);
  expect(await verified(afterReading(MANIFEST_NAME, begin))).toBeNull();
  await ended;
});

it('says that a manifest is lost when a disk loses it while the rest stays', async () => {
  const found = await verified(afterReading(MANIFEST_NAME, missing));
  expect(found && worstFault(found)).toBe('lost');
});

it('says what it found when a place that may hold the snapshot is missing', async () => {
  const away = fixture.directories[2]!;
  const found = await verified(
    afterReading(MANIFEST_NAME, async () => {
      await rename(away, `${away}-away`);
      await remove().catch(() => {});
    }),
  );
  expect(found && worstFault(found)).toBe('unreachable');
});

it('looks once more at what another host repairs while it is read', async () => {
  await flipByte((await files('clean-cache.0'))[0]!, 10);
  const repair = async (): Promise<void> => {
    expect((await verify({ repair: true })).repair?.droppedPages).toBeGreaterThan(0);
  };
  const found = await verified(afterReading(MANIFEST_NAME, repair));
  expect(found && worstFault(found)).toBeNull();
  expect(found?.health?.manifest.revision).toBe(manifest.revision + 1);
});

it('gives up on what is rewritten again and again, and says so', async () => {
  for (const file of await files('clean-cache.0')) await flipByte(file, 10);
  const found = await verified(afterReading(MANIFEST_NAME, rewrite, Infinity));
  expect(found && worstFault(found)).toBe('busy');
});

it('passes over a claim that is taken back before it is read', async () => {
  await claimWaking(fixture.store, manifest, manifest.owner);
  const store = fixture.reopen();
  const list = async (prefix: string): Promise<string[]> => {
    const names = await store.list(prefix);
    await unclaim(fixture.store, manifest, manifest.owner);
    return names;
  };
  const found = await verified(standingIn({ list }, store));
  expect(found && worstFault(found)).toBeNull();
});

it('and one that is taken back after it was read', async () => {
  await claimWaking(fixture.store, manifest, manifest.owner);
  const takeBack = (): Promise<void> => unclaim(fixture.store, manifest, manifest.owner);
  const found = await verified(afterReading('state-waking', takeBack));
  expect(found && worstFault(found)).toBeNull();
});
