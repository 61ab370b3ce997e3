// SPDX-License-Identifier: Apache-2.0
/** One of three disks cannot read the directories of snapshots, while its marker can still be read. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { claimWaking } from '../../src/lifecycle/claims.js';
import { isComplete } from '../../src/health/removed.js';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { findSnapshot } from '../../src/snapshot/snapshots.js';
import { nodeFiles, type Files } from '../../src/stores/local/files.js';
import { LocalStore } from '../../src/stores/local/local-store.js';
import { native } from '../../src/native.js';
import { failure } from '../contract/store.js';
import { diskFailure, failing, type LocalFixture, localFixture } from '../support/local-store.js';
import { storeSnapshot } from '../support/stored-snapshot.js';

let fixture: LocalFixture;
let manifest: Manifest;

beforeEach(async () => {
  fixture = await localFixture(nodeFiles, native());
  manifest = await storeSnapshot(fixture.store);
});
afterEach(() => fixture.dispose());

function storeWith(sick: (directory: string) => boolean, toResume: boolean): LocalStore {
  const readdir = (async (...args: Parameters<Files['readdir']>) => {
    if (fixture.directories.some((one) => sick(one) && String(args[0]).startsWith(`${one}/`)))
      throw diskFailure('EIO');
    return nodeFiles.readdir(...args);
  }) as Files['readdir'];
  return LocalStore.fromPath(fixture.path, { files: failing({ readdir }), disk: native(), toResume });
}
const second = (directory: string): boolean => directory === fixture.directories[1];

it('keeps no guest from resuming, and counts as missing from then on', async () => {
  const store = storeWith(second, true);
  expect(await findSnapshot(store, manifest.snapshot)).toMatchObject({ condition: 'whole' });
  await claimWaking(store, manifest, manifest.owner);
  expect(await isComplete(store)).toBe(false);
});

it('is an error for whoever asks what there is', async () => {
  const error = await failure(storeWith(second, false).list(manifest.snapshot), 'unreachable');
  expect(error.message).toContain(fixture.directories[1]);
});

it('is an error for a guest that is to resume when it is all there is', async () => {
  const error = await failure(storeWith(() => true, true).list(manifest.snapshot), 'unreachable');
  expect(error.message).toMatch(/none of its directories is usable .*EIO/);
});
