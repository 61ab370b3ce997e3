// SPDX-License-Identifier: Apache-2.0
/**
 * Snapshots and stubs as earlier versions left them (R29): each must be told, restored and hydrated for ever.
 * A fixture is a directory: the store's three places d1, d2, d3, and the stub, gzipped. Their images are in
 * test/support/fixture-image.ts, saved as the fixture's name ends.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ImageFile } from '../../src/image/image-file.js';
import { StubRegistry } from '../../src/image/stub-registry.js';
import { hydrate } from '../../src/lifecycle/hydrate.js';
import { restore } from '../../src/lifecycle/restore.js';
import { listSnapshots } from '../../src/snapshot/snapshots.js';
import { LocalStore } from '../../src/stores/local/local-store.js';
import { rawImage } from '../support/compressed.js';
import { fixtureImage, sparseFixtureImage } from '../support/fixture-image.js';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const HOST = { machineId: '0'.repeat(32), host: 'test' };
const fixtures = readdirSync(HERE, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

let root: string;
let store: LocalStore;

describe.each(fixtures)('%s', (fixture) => {
  const original = fixture.endsWith('sparse') ? sparseFixtureImage() : fixtureImage();

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'pars-old-'));
    cpSync(join(HERE, fixture), root, { recursive: true });
    writeFileSync(join(root, 'g.save'), gunzipSync(readFileSync(join(root, 'stub.gz'))));
    store = LocalStore.fromPath(['d1', 'd2', 'd3'].map((name) => join(root, name)).join(','));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  it('its snapshot is whole and gives the image back', async () => {
    const [entry, ...others] = await listSnapshots(store);
    expect(others).toEqual([]);
    expect(entry).toMatchObject({
      condition: 'whole',
      state: 'stubbed',
      manifest: { domain: { name: 'old guest' } },
    });
    await restore(store, entry!.snapshot, join(root, 'restored'), { force: false });
    expect(readFileSync(join(root, 'restored')).equals(original)).toBe(true);
  });

  it('its stub becomes the image again', async () => {
    const image = join(root, 'g.save');
    const file = await ImageFile.open(image);
    try {
      const done = await hydrate(
        file,
        { store: async () => store, host: HOST, registry: new StubRegistry(root) },
        { force: false, acceptChangedDisks: false, lockWaitMs: 0 },
      );
      expect(done).toMatchObject({ hydrated: true, losses: { byPolicy: 0, unexpected: 0 } });
    } finally {
      await file.close();
    }
    expect(rawImage(image)?.equals(original)).toBe(true);
  });
});

it('there are fixtures', () => expect(fixtures.length).toBeGreaterThan(0));
