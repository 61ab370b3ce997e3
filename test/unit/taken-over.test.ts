// SPDX-License-Identifier: Apache-2.0
/**
 * What a reader that a hostile image has taken over can do: nothing but fail (docs/security.md). Each row
 * names the attack.
 */
import type * as ChildProcessModule from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { listSnapshots } from '../../src/snapshot/snapshots.js';
import { domainXml, smallImage, sparseImage } from '../support/image-builder.js';
import { imageFixture, type ImageFixture } from '../support/image-fixture.js';
import type * as TakenOver from '../support/taken-over.js';
import { buildFakeReader, type FakePlan } from '../support/taken-over.js';

const stand = vi.hoisted(() => ({ plan: null as FakePlan | null }));
vi.mock('node:child_process', async (original) => {
  const { withTakenOver } = await vi.importActual<typeof TakenOver>('../support/taken-over.js');
  return withTakenOver(await original<typeof ChildProcessModule>(), () => stand.plan);
});

beforeAll(buildFakeReader);
let fixture: ImageFixture;
beforeEach(async () => {
  fixture = await imageFixture();
});
afterEach(async () => {
  stand.plan = null;
  await fixture.dispose();
});
afterAll(() => vi.restoreAllMocks());

const EMULATOR = { from: '/usr/bin/qemu', to: '/tmp/nothing!' };
const XML = domainXml().replace('<os>', `<devices><emulator>${EMULATOR.from}</emulator></devices><os>`);
const KERNEL = 0,
  FILL = 12,
  SKELETON = 13;

/** Nothing of the image was changed, and nothing is left in the store. */
async function expectUntouched(before: Buffer): Promise<void> {
  expect(readFileSync(fixture.image).equals(before)).toBe(true);
  expect(await listSnapshots(fixture.store)).toEqual([]);
  expect(await fixture.registry.all()).toEqual([]);
}

describe('forged bytes (row 1)', () => {
  it.each<[string, FakePlan]>([
    ['another program in the XML of the head', { forgeHead: EMULATOR }],
    ['a page', { forgeKind: KERNEL }],
    ['a word that fills a page', { forgeKind: FILL }],
    ['what stands between pages', { forgeKind: SKELETON }],
  ])('%s: nothing is freed', async (_, plan) => {
    const { bytes } = smallImage({ xml: XML });
    writeFileSync(fixture.image, bytes);
    stand.plan = { onlyIn: ['pack'], ...plan };
    await expect(fixture.offload()).rejects.toMatchObject({ kind: 'corrupt' });
    await expectUntouched(bytes);
  });

  it.each<[string, FakePlan]>([
    ['a page', { forgeKind: KERNEL }],
    ['a bitmap', { forgeKind: SKELETON }],
  ])('%s of a sparse image: nothing is freed', async (_, plan) => {
    const { bytes } = sparseImage();
    writeFileSync(fixture.image, bytes);
    stand.plan = { onlyIn: ['pack'], ...plan };
    await expect(fixture.offload()).rejects.toMatchObject({ kind: 'corrupt' });
    await expectUntouched(bytes);
  });

  it('a copy that stays beside the image is proved as well', async () => {
    const { bytes } = smallImage({ xml: XML });
    writeFileSync(fixture.image, bytes);
    stand.plan = { onlyIn: ['pack'], forgeHead: EMULATOR };
    await expect(fixture.offload({ keepLocal: true })).rejects.toMatchObject({ kind: 'corrupt' });
    await expectUntouched(bytes);
  });

  it('a reader that forges nothing is believed', async () => {
    writeFileSync(fixture.image, smallImage({ xml: XML }).bytes);
    stand.plan = {};
    expect(await fixture.offload()).toMatchObject({ stub: true });
  });
});
