// SPDX-License-Identifier: Apache-2.0
/** `pars rm` while an offload waits for whoever reads the image: no stub comes to stand for what is gone. */
import { readFileSync, writeFileSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Offloaded } from '../../src/lifecycle/offload-request.js';
import { guardRemoval } from '../../src/lifecycle/removal.js';
import { native } from '../../src/native.js';
import {
  findSnapshot,
  listSnapshots,
  removeSnapshot,
  resolveSnapshot,
} from '../../src/snapshot/snapshots.js';
import { smallImage, UUID } from '../support/image-builder.js';
import { HOST, type ImageFixture, imageFixture } from '../support/image-fixture.js';

const LEASE_WAIT_MS = 60_000;
const { bytes } = smallImage({ frames: 1700 });
let fixture: ImageFixture;
let reader: FileHandle;

beforeEach(async () => {
  fixture = await imageFixture(native());
  writeFileSync(fixture.image, bytes);
  reader = await open(fixture.image, 'r');
});
afterEach(async () => {
  await reader.close();
  await fixture.dispose();
});

/** Its snapshot is committed, and the image is still open elsewhere. */
async function waitingOffload(): Promise<{ ends: Promise<Offloaded>; snapshot: string }> {
  let ends: Promise<Offloaded> | undefined;
  await new Promise<void>((resolve, reject) => {
    const onStep = (step: string): void => void (step === 'committed' && resolve());
    ends = fixture.offload({ leaseWaitMs: LEASE_WAIT_MS, onStep });
    ends.catch(reject);
  });
  return { ends: ends!, snapshot: await resolveSnapshot(fixture.store, UUID) };
}

async function remove(snapshot: string, force: boolean): Promise<void> {
  const { store, registry } = fixture;
  await guardRemoval(await findSnapshot(store, snapshot), { host: HOST, registry }, { force });
  await removeSnapshot(store, snapshot);
}

it('is refused, and the offload ends well', async () => {
  const { ends, snapshot } = await waitingOffload();
  await expect(remove(snapshot, false)).rejects.toMatchObject({ kind: 'refused' });
  await reader.close();
  expect(await ends).toMatchObject({ snapshot, stub: true });
});

it('by force leaves the image whole', async () => {
  const { ends, snapshot } = await waitingOffload();
  await remove(snapshot, true);
  await reader.close();
  await expect(ends).rejects.toMatchObject({ kind: 'busy', message: expect.stringContaining('removed') });
  expect(readFileSync(fixture.image).equals(bytes)).toBe(true);
  expect(await listSnapshots(fixture.store)).toEqual([]);
});
