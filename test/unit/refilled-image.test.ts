// SPDX-License-Identifier: Apache-2.0
/**
 * An image that was refilled for a start that failed becomes the stub again, and nothing is stored anew
 * (R20, R25); what was written since, or what the store no longer holds, is stored like any other.
 */
import { appendFileSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { claimByForce, takeOver } from '../../src/lifecycle/claims.js';
import { native } from '../../src/native.js';
import { policyByName } from '../../src/policy/policy.js';
import { listSnapshots, objectPath, type SnapshotEntry } from '../../src/snapshot/snapshots.js';
import { compressImage, rawImage } from '../support/compressed.js';
import { smallImage, sparseImage, UUID } from '../support/image-builder.js';
import { type ImageFixture, imageFixture } from '../support/image-fixture.js';
import { filesIn } from '../support/local-store.js';

const OTHER_HOST = { machineId: 'f'.repeat(32), host: 'other' };
const original = smallImage({ frames: 1700 }).bytes;

let fixture: ImageFixture;

beforeEach(async () => {
  fixture = await imageFixture(native());
  writeFileSync(fixture.image, original);
});
afterEach(() => fixture.dispose());

type Whole = SnapshotEntry & { condition: 'whole' };

async function snapshots(): Promise<Whole[]> {
  return (await listSnapshots(fixture.store)).filter((entry): entry is Whole => entry.condition === 'whole');
}

async function storedBytes(): Promise<number> {
  const names = await filesIn(fixture.directories);
  const sizes = fixture.directories.flatMap((directory) =>
    names.map((name) => statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? 0),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function refilled(): Promise<Whole> {
  await fixture.offload();
  await fixture.hydrate();
  return (await snapshots())[0]!;
}

describe.each([
  ['a raw image', original, 3],
  ['a sparse image', sparseImage().bytes, 1],
  ['a compressed image', compressImage(original, 'zstd'), 1],
])('%s that was refilled and not written since', (_, bytes, starts) => {
  beforeEach(() => writeFileSync(fixture.image, bytes));

  it('is the same stub again after each failed start, and nothing is stored', async () => {
    const first = await fixture.offload();
    const before = await storedBytes();
    for (let start = 1; start <= starts; start++) {
      await fixture.hydrate();
      expect((await snapshots())[0]?.state).toBe('waking');
      expect(await fixture.offload(), `after start ${start}`).toMatchObject({
        snapshot: first.snapshot,
        stub: true,
        storedBefore: true,
        storedBytes: 0,
        freedBytes: expect.any(Number) as number,
      });
      expect((await snapshots()).map(({ snapshot, state }) => [snapshot, state])).toEqual([
        [first.snapshot, 'stubbed'],
      ]);
      expect(await storedBytes()).toBeLessThanOrEqual(before);
      expect(statSync(fixture.image).blocks * 512).toBeLessThan(5 << 20);
    }
    await fixture.hydrate();
    writeFileSync(join(fixture.root, 'expected'), bytes);
    expect(rawImage(fixture.image)?.equals(rawImage(join(fixture.root, 'expected')) ?? Buffer.alloc(0))).toBe(
      true,
    );
  });
});

describe('a refilled image', () => {
  async function expectStoredAnew(): Promise<void> {
    const expected = readFileSync(fixture.image);
    expect(await fixture.offload()).toMatchObject({ storedBefore: false, stub: true });
    await fixture.hydrate();
    expect(readFileSync(fixture.image).equals(expected)).toBe(true);
  }

  it('that was written is stored anew', async () => {
    await refilled();
    const file = await open(fixture.image, 'r+');
    await file.write(Buffer.from([1]), 0, 1, original.length - 100);
    await file.close();
    await fixture.offload();
    expect(await snapshots()).toHaveLength(2);
  });

  it('whose head was written, with its time put back, is stored anew', async () => {
    await refilled();
    const { mtimeNs } = statSync(fixture.image, { bigint: true });
    const file = await open(fixture.image, 'r+');
    const head = Buffer.alloc(16);
    await file.read(head, 0, 16, 2 << 20);
    await file.write(Buffer.from(head.map((byte) => byte ^ 1)), 0, 16, 2 << 20);
    await file.close();
    const seconds = Number(mtimeNs) / 1e9;
    await utimes(fixture.image, seconds, seconds);
    await fixture.offload().catch(() => null);
    expect((await snapshots()).length).not.toBe(1);
  });

  it('of which the store has lost a copy is stored anew', async () => {
    const { snapshot } = await refilled();
    rmSync(join(fixture.directories[1]!, objectPath(snapshot, 'skeleton.0')));
    await expectStoredAnew();
  });

  it('is stored anew by another policy, and kept beside its copy when that was asked for', async () => {
    await refilled();
    expect(await fixture.offload({ keepLocal: true })).toMatchObject({ stub: false, storedBefore: false });
    expect(await fixture.offload({ policy: policyByName('minimal') })).toMatchObject({ storedBefore: false });
  });

  it('whose snapshot another host has taken over is not taken back', async () => {
    const { snapshot, manifest } = await refilled();
    await takeOver(fixture.store, snapshot, OTHER_HOST);
    expect(await fixture.offload()).toMatchObject({ storedBefore: false });
    expect(await fixture.store.list(snapshot)).toContain('state-waking');
    expect(manifest.owner.host).toBe('test');
  });

  it('that another host has resumed by force is not taken back either', async () => {
    const { snapshot, manifest } = await refilled();
    await claimByForce(fixture.store, manifest, OTHER_HOST);
    expect(await fixture.offload()).toMatchObject({ storedBefore: false });
    expect(await fixture.store.list(snapshot)).toContain('state-waking');
  });

  it('whose guest was started stays whole, and its snapshot stays', async () => {
    const { snapshot } = await refilled();
    const started = join(fixture.root, 'state/started');
    mkdirSync(started);
    const onStep = (step: string): void => {
      if (step === 'found') appendFileSync(join(started, UUID), '');
    };
    await expect(fixture.offload({ onStep })).rejects.toMatchObject({ kind: 'busy' });
    expect(readFileSync(fixture.image).equals(original)).toBe(true);
    expect((await snapshots()).map((entry) => entry.snapshot)).toEqual([snapshot]);
  });

  it('that a start has open stays whole, and becomes the stub again afterwards', async () => {
    const { snapshot } = await refilled();
    const held = await open(fixture.image, 'r');
    await expect(fixture.offload({ leaseWaitMs: 0 })).rejects.toMatchObject({ kind: 'busy' });
    expect(readFileSync(fixture.image).equals(original)).toBe(true);
    await held.close();
    expect(await fixture.offload()).toMatchObject({ storedBefore: true, snapshot });
  });
});
