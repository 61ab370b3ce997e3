// SPDX-License-Identifier: Apache-2.0
/** An offload while directories of the store are missing: what cannot be seen there is not taken for lost. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { plainDisk } from '../support/disk-primitives.js';
import { smallImage } from '../support/image-builder.js';
import { type ImageFixture, imageFixture } from '../support/image-fixture.js';

/** Enough to store on while those with a manifest are missing. */
const PLACES = 6;
const { bytes } = smallImage({ frames: 1700 });
let fixture: ImageFixture;

beforeEach(async () => {
  fixture = await imageFixture(plainDisk, PLACES);
});
afterEach(() => fixture.dispose());

it('leaves an earlier snapshot alone whose manifest is there, and its stub elsewhere', async () => {
  const { image, directories } = fixture;
  const moved = join(fixture.root, 'saves', 'monday.save');
  writeFileSync(image, bytes);
  const { snapshot } = await fixture.offload();
  renameSync(image, moved);
  writeFileSync(image, bytes);
  const missing = directories.filter((directory) => existsSync(join(directory, snapshot, 'manifest.json')));
  expect(missing).toHaveLength(PLACES / 2);
  for (const directory of missing) renameSync(directory, `${directory}.away`);
  expect(await fixture.offload()).toMatchObject({ stub: true });
  for (const directory of missing) renameSync(`${directory}.away`, directory);
  await fixture.hydrate(moved);
  expect(readFileSync(moved).equals(bytes)).toBe(true);
});
