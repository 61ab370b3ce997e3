// SPDX-License-Identifier: Apache-2.0
/** A store whose contents somebody wrote who means harm: an error of the right kind, and little memory. */
import { createHash } from 'node:crypto';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native } from '../../src/native.js';
import { FRAME_SKELETON, PAGE_CLASSES } from '../../src/page-classes.js';
import { encodeManifest } from '../../src/snapshot/manifest-codec.js';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { objectPath } from '../../src/snapshot/snapshots.js';
import { put } from '../contract/store.js';
import { type LocalFixture, localFixture } from '../support/local-store.js';
import { sampleManifest } from '../support/manifests.js';
import { type Ran, runPars } from '../support/run-pars.js';

const MIB = 1 << 20;
const LITTLE = 400 * MIB;
const sha256 = (data: Buffer): string => createHash('sha256').update(data).digest('hex');

let fixture: LocalFixture;
beforeEach(async () => {
  fixture = await localFixture();
});
afterEach(() => fixture.dispose());

interface Frame {
  kind: number;
  rawBytes: number;
  pages: number;
  data: Buffer;
  /** What the index says of its length, if not the truth. */
  bytes?: number;
}

/** An index of one stripe as docs/format.md has it, with no check of anything. */
function forgedIndex(imageBytes: number, frames: readonly Frame[]): Buffer {
  const out = Buffer.alloc(16 + 24 + frames.length * 56);
  out.write('PARSIDX1', 0, 'latin1');
  out.writeUInt32LE(1, 8);
  out.writeUInt32LE(frames.length, 12);
  out.writeBigUInt64LE(BigInt(imageBytes), 16 + 8);
  out.writeUInt32LE(frames.length, 16 + 20);
  frames.forEach(({ kind, rawBytes, pages, data, bytes = data.length }, i) => {
    const at = 40 + i * 56;
    out.writeUInt8(kind, at);
    out.writeUInt16LE(i, at + 2);
    out.writeUInt32LE(rawBytes, at + 4);
    out.writeUInt32LE(bytes, at + 16);
    out.writeUInt32LE(pages, at + 20);
    out.write(sha256(data), at + 24, 32, 'hex');
  });
  return out;
}

const packOf = (kind: number, i: number): string => `${PAGE_CLASSES[kind] ?? 'skeleton'}.${i}`;

/** Stores what somebody made up. */
async function forge(imageBytes: number, frames: readonly Frame[]): Promise<Manifest> {
  const base = sampleManifest();
  const index = forgedIndex(imageBytes, frames);
  const at = (name: string): string => objectPath(base.snapshot, name);
  await put(fixture.store, at('index'), index, 3);
  for (const [i, { kind, data }] of frames.entries()) await put(fixture.store, at(packOf(kind, i)), data, 3);
  return forgeManifest({
    image: { ...base.image, bytes: imageBytes },
    index: { name: 'index', bytes: index.length, sha256: sha256(index) },
    objects: frames.map(({ kind, data, bytes = data.length }, i) => ({
      name: packOf(kind, i),
      bytes: Math.max(bytes, data.length),
      xxh3: '0'.repeat(32),
      copies: 3,
    })),
  });
}

async function forgeManifest(changes: Partial<Manifest>): Promise<Manifest> {
  const manifest = sampleManifest({ storeId: (await fixture.store.status()).storeId, ...changes });
  await put(fixture.store, objectPath(manifest.snapshot, 'manifest.json'), encodeManifest(manifest), 3);
  return manifest;
}

/** Restores, and tells how much memory it took meanwhile. */
async function restore({ snapshot }: Manifest): Promise<Ran & { bytes: number }> {
  const before = process.memoryUsage().rss;
  let most = before;
  const timer = setInterval(() => (most = Math.max(most, process.memoryUsage().rss)), 5);
  const url = `local:${fixture.path}`;
  const ran = await runPars('restore', snapshot, '--to', join(fixture.root, 'out'), '--store', url);
  clearInterval(timer);
  return { ...ran, bytes: Math.max(most, process.memoryUsage().rss) - before };
}

async function isCorrupt(manifest: Manifest): Promise<void> {
  const { exitCode, stderr, bytes } = await restore(manifest);
  expect(stderr).toMatch(/^pars: /);
  expect(exitCode).toBe(5);
  expect(bytes).toBeLessThan(LITTLE);
}

describe('a forged snapshot is corrupt (row 12)', () => {
  const skeleton = async (rawBytes: number, more: Partial<Frame> = {}): Promise<Frame> => {
    const data = await native().compress(Buffer.alloc(Math.min(rawBytes, 64 * MIB)), 1);
    return { kind: FRAME_SKELETON, rawBytes, pages: 0, data, ...more };
  };

  it('with a stripe longer than any', async () => isCorrupt(await forge(2 ** 30, [await skeleton(2 ** 30)])));

  it('with a frame longer than any', async () =>
    isCorrupt(await forge(64 * MIB, [await skeleton(64 * MIB + 4)])));

  it('with a frame of another length than it says', async () =>
    isCorrupt(await forge(MIB, [await skeleton(MIB, { rawBytes: MIB + 4 })])));

  it('with far more compressed bytes than contents', async () =>
    isCorrupt(await forge(MIB, [await skeleton(MIB + 4, { data: Buffer.alloc(500 * MIB) })])));

  it('with a frame that is not compressed at all', async () =>
    isCorrupt(await forge(MIB, [await skeleton(MIB + 4, { data: Buffer.from('plain') })])));

  it('with a skeleton that does not make its stripe', async () =>
    isCorrupt(await forge(MIB, [await skeleton(MIB + 4000)])));

  it('with an index longer than one of its image can be, which is not read', async () => {
    const manifest = await forgeManifest({
      index: { name: 'index', bytes: 900 * MIB, sha256: '0'.repeat(64) },
    });
    for (const directory of fixture.directories) {
      const file = join(directory, objectPath(manifest.snapshot, 'index'));
      await writeFile(file, '');
      await truncate(file, 900 * MIB);
    }
    await isCorrupt(manifest);
  });

  it.each(['../../x', 'a b', '', 'x/y', '.x'])(
    'with an object, or an index, of the name %j, and others are verified all the same',
    async (name) => {
      const { index, objects, snapshot } = sampleManifest();
      for (const changes of [
        {
          objects: [{ ...objects[0]!, name }],
          index: { ...index, bytes: 0, sha256: sha256(Buffer.alloc(0)) },
        },
        { index: { ...index, name } },
      ]) {
        const manifest = await forgeManifest(changes);
        const ran = await runPars('verify', '--json', '--store', `local:${fixture.path}`);
        expect(ran.exitCode).toBe(5);
        expect(ran.stdout).toContain(snapshot);
        await isCorrupt(manifest);
      }
    },
  );

  it('with a manifest of 60 MiB, for all that read it', async () => {
    const { snapshot } = await forgeManifest({});
    for (const directory of fixture.directories)
      await writeFile(join(directory, objectPath(snapshot, 'manifest.json')), '[{},'.repeat(15 * MIB));
    const before = process.memoryUsage().rss;
    for (const call of [
      ['restore', snapshot, '--to', join(fixture.root, 'out')],
      ['show', snapshot],
    ])
      expect((await runPars(...call, '--store', `local:${fixture.path}`)).exitCode).toBe(5);
    expect(process.memoryUsage().rss - before).toBeLessThan(LITTLE);
  });
});
