// SPDX-License-Identifier: Apache-2.0
/** Reports on what is in the store: snapshots, and the stubs that stand for them. */
import { expect, test } from 'vitest';
import { PAGE_CLASSES } from '../../src/page-classes.js';
import { presetPolicy } from '../../src/policy/policy.js';
import { reportOn } from '../../src/report/report.js';
import { factsFrom, storedFacts } from '../../src/report/stored-report.js';
import { isStoredName } from '../../src/snapshot/snapshot-names.js';
import { encodeManifest, objectPath } from '../../src/snapshot/snapshots.js';
import { put } from '../contract/store.js';
import { localFixture } from '../support/local-store.js';
import { GUEST, sampleManifest } from '../support/manifests.js';
import { schemaErrors } from '../support/schema.js';

test('names of snapshots are told from files', () => {
  expect([GUEST, `${GUEST}/20261123T093000Z-0123abcd`].map(isStoredName)).toEqual([true, true]);
  expect(['web.save', '/var/x', `${GUEST}.save`].map(isStoredName)).toEqual([false, false, false]);
});

test('a manifest says what the report on its image said, and follows the schema', () => {
  const manifest = sampleManifest({ image: { ...sampleManifest().image, bytes: 10 << 20 } });
  const report = reportOn(factsFrom(manifest, manifest.snapshot), presetPolicy('lean'));
  expect(schemaErrors('report', { ...report, warnings: [] })).toEqual([]);
  expect(report).toMatchObject({
    source: 'snapshot',
    estimated: false,
    guest: manifest.guest,
    image: { path: manifest.snapshot, bytes: 10 << 20 },
  });
  for (const name of PAGE_CLASSES)
    expect(report.classes[name]).toMatchObject({ pages: 10, payloadPages: 5, rawBytes: 5 * 4096 });
  // Stored three times in 1,000 bytes: a third of that is one copy. What was never stored is not known.
  expect(report.classes.anon.estimatedCompressedBytes).toBe(Math.round(1000 / 3));
  expect(report.classes.free.estimatedCompressedBytes).toBeNull();
  expect(report.skeleton.rawBytes).toBe((10 << 20) - 12 * 5 * 4096);
});

test('the latest snapshot of a guest by its UUID', async () => {
  const fixture = await localFixture();
  try {
    const manifest = sampleManifest();
    await put(fixture.store, objectPath(manifest.snapshot, 'manifest.json'), encodeManifest(manifest), 3);
    expect(await storedFacts(fixture.store, GUEST)).toMatchObject({
      path: manifest.snapshot,
      source: 'snapshot',
    });
    expect(await storedFacts(fixture.store, manifest.snapshot, '/save/web.save')).toMatchObject({
      path: '/save/web.save',
    });
    await expect(storedFacts(fixture.store, '99999999-2222-3333-4444-555555555555')).rejects.toMatchObject({
      kind: 'missing',
    });
  } finally {
    await fixture.dispose();
  }
});
