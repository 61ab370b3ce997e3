// SPDX-License-Identifier: Apache-2.0
/**
 * What assembling does when frames cannot be had, on a snapshot made by hand: three pages of a "kernel" that
 * know of three cached pages.
 */
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { assemble, outputBytes, type AssembleOptions, type Losses } from '../../src/snapshot/assemble.js';
import { assembleInOrder } from '../../src/snapshot/assemble-in-order.js';
import { ParsError } from '../../src/errors.js';
import {
  encodeIndex,
  noDigest,
  packName,
  type IndexFrame,
  type IndexStripe,
} from '../../src/snapshot/index-table.js';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { native } from '../../src/native.js';
import { SnapshotSource } from '../../src/snapshot/snapshot-source.js';
import { objectPath } from '../../src/snapshot/snapshots.js';
import type { Store } from '../../src/stores/store.js';
import { noisePage, PAGE } from '../support/image-builder.js';
import { localFixture, type LocalFixture } from '../support/local-store.js';
import { sampleManifest } from '../support/manifests.js';

const KERNEL = 0,
  CLEAN = 2,
  SKELETON = 13,
  RECOVERY = 14;
const HEAD = Buffer.alloc(1000, 'h');
const PAGES = 3;
const RECORD = PAGE + 8;

/** A stripe of `PAGES` records of one class. */
function stripeBytes(seed: number): { image: Buffer; pages: Buffer } {
  const pages = Buffer.concat(Array.from({ length: PAGES }, (_, i) => noisePage(seed + i)));
  const records = Array.from({ length: PAGES }, (_, i) =>
    Buffer.concat([recordWord(seed + i, 0x28), pages.subarray(i * PAGE, (i + 1) * PAGE)]),
  );
  return { image: Buffer.concat(records), pages };
}

function recordWord(frame: number, flags: number): Buffer {
  const word = Buffer.alloc(8);
  word.writeBigUInt64BE(BigInt(frame) * 4096n + BigInt(flags));
  return word;
}

function skeletonOf(image: Buffer, source: number): Buffer {
  const run = Buffer.alloc(4 + 16);
  run.writeUInt32LE(1, 0);
  run.writeUInt32LE(8, 4);
  run.writeUInt32LE(PAGES, 8);
  run.writeUInt16LE(8, 12);
  run.writeUInt8(source, 14);
  return Buffer.concat([
    run,
    ...Array.from({ length: PAGES }, (_, i) => image.subarray(i * RECORD, i * RECORD + 8)),
  ]);
}

function recovery(writes: { offset: number; mask: number; value: number }[]): Buffer {
  const out = Buffer.alloc(8 + writes.length * 10);
  out.writeUInt32LE(1, 0);
  out.writeUInt32LE(writes.length, 4);
  writes.forEach(({ offset, mask, value }, i) => {
    out.writeBigUInt64LE(BigInt(offset), 8 + i * 10);
    out.writeUInt8(mask, 16 + i * 10);
    out.writeUInt8(value, 17 + i * 10);
  });
  return out;
}

const kernel = stripeBytes(1),
  cached = stripeBytes(100);
const kernelAt = HEAD.length,
  cachedAt = kernelAt + kernel.image.length;
/** The byte in the kernel that says a cached page is there, and what it is without. */
const flagAt = kernelAt + RECORD + 8 + 77;
const original = Buffer.concat([HEAD, kernel.image, cached.image]);
const flagAfter = (original[flagAt]! & ~0x0f) | 0x04;
const writes = recovery([{ offset: flagAt, mask: 0x0f, value: 0x04 }]);

let fixture: LocalFixture;
let manifest: Manifest;

beforeEach(async () => {
  fixture = await localFixture();
});
afterEach(() => fixture.dispose());

/** Stores the snapshot; `keepCached` false: as a policy that does not store clean cache. */
async function store(keepCached = true): Promise<void> {
  const snapshot = sampleManifest().snapshot;
  const packs = new Map<string, Buffer[]>();
  const add = async (kind: number, pages: number, raw: Buffer): Promise<IndexFrame> => {
    if (kind === CLEAN && !keepCached)
      return { kind, pack: 0, rawBytes: raw.length, offset: 0, bytes: 0, pages, sha256: noDigest() };
    const data = await native().compress(raw, 1);
    const parts = packs.get(packName(kind, 0)) ?? [];
    packs.set(packName(kind, 0), [...parts, data]);
    const offset = parts.reduce((sum, part) => sum + part.length, 0);
    return {
      kind,
      pack: 0,
      rawBytes: raw.length,
      offset,
      bytes: data.length,
      pages,
      sha256: createHash('sha256').update(data).digest('hex'),
    };
  };
  const emptyRun = Buffer.alloc(20);
  emptyRun.writeUInt32LE(1, 0);
  emptyRun.writeUInt32LE(HEAD.length, 4);
  const stripes: IndexStripe[] = [
    {
      imageOffset: 0,
      imageBytes: HEAD.length,
      frames: [await add(SKELETON, 0, Buffer.concat([emptyRun, HEAD]))],
    },
    {
      imageOffset: kernelAt,
      imageBytes: kernel.image.length,
      frames: [
        await add(KERNEL, PAGES, kernel.pages),
        await add(SKELETON, 0, skeletonOf(kernel.image, KERNEL)),
      ],
    },
    {
      imageOffset: cachedAt,
      imageBytes: cached.image.length,
      frames: [
        await add(CLEAN, PAGES, cached.pages),
        await add(SKELETON, 0, skeletonOf(cached.image, CLEAN)),
        await add(RECOVERY, 0, writes),
      ],
    },
  ];
  const index = encodeIndex(stripes);
  packs.set('index', [index]);
  const objects: Manifest['objects'] = [];
  for (const [name, parts] of packs) {
    const writer = await fixture.store.create(objectPath(snapshot, name), {
      copies: name === 'clean-cache.0' ? 1 : 3,
      critical: true,
    });
    for (const part of parts) await writer.write(part);
    const { bytes, xxh3, copies } = await writer.close();
    objects.push({ name, bytes, xxh3, copies });
  }
  const base = sampleManifest();
  manifest = {
    ...base,
    objects,
    index: { name: 'index', bytes: index.length, sha256: createHash('sha256').update(index).digest('hex') },
    image: { ...base.image, bytes: original.length, headEnd: HEAD.length },
  };
}

async function rebuild(
  options: Partial<AssembleOptions> = {},
  from: Store = fixture.store,
): Promise<{ image: Buffer; writes: number; losses: Losses }> {
  const source = await SnapshotSource.open(from, manifest);
  const layout = options.layout ?? 'in-place';
  const image = Buffer.alloc(outputBytes(source.stripes, layout));
  let count = 0;
  const sink = {
    async write(data: Buffer, offset: number) {
      count++;
      data.copy(image, offset);
    },
  };
  return {
    losses: await assemble(source, sink, { layout, firstStripe: 0, ...options }),
    image,
    writes: count,
  };
}

function withoutCache(): Buffer {
  const expected = Buffer.from(original);
  for (let i = 0; i < PAGES; i++) expected.fill(0, cachedAt + i * RECORD + 8, cachedAt + (i + 1) * RECORD);
  expected[flagAt] = flagAfter;
  return expected;
}

describe('assembling', () => {
  it('gives back every byte that was stored', async () => {
    await store();
    const { image, losses } = await rebuild();
    expect(image.equals(original)).toBe(true);
    expect(losses).toEqual({ byPolicy: 0, unexpected: 0, recovered: 0 });
  });

  it('puts zeros for pages the policy had not stored, and tells the guest', async () => {
    await store(false);
    const { image, losses } = await rebuild();
    expect(image.equals(withoutCache())).toBe(true);
    expect(losses).toEqual({ byPolicy: PAGES, unexpected: 0, recovered: PAGES });
  });

  it('packed: turns their records into zero records', async () => {
    await store(false);
    const { image } = await rebuild({ layout: 'packed' });
    expect(image.length).toBe(original.length - PAGES * 4095);
    expect(image[flagAt]).toBe(flagAfter);
    const words = Array.from({ length: PAGES }, (_, i) =>
      image.subarray(cachedAt + i * 9, cachedAt + i * 9 + 9),
    );
    expect(words).toEqual(
      Array.from({ length: PAGES }, (_, i) => Buffer.concat([recordWord(100 + i, 0x22), Buffer.alloc(1)])),
    );
  });

  it.each(['in-place', 'packed'] as const)(
    '%s: rebuilds what was written already when expendable pages turn out to be gone',
    async (layout) => {
      await store();
      await fixture.store.remove(objectPath(manifest.snapshot, 'clean-cache.0'));
      const { image, losses, writes: count } = await rebuild({ layout }, slowRecovery(fixture.store));
      expect(image.equals(withoutCache())).toBe(true);
      expect(losses).toEqual({ byPolicy: 0, unexpected: PAGES, recovered: PAGES });
      expect(count, 'the kernel stripe twice').toBe(4);
    },
  );

  it('never writes the head when told to leave it', async () => {
    await store();
    const { image } = await rebuild({ firstStripe: 1 });
    expect(image.subarray(0, HEAD.length).equals(Buffer.alloc(HEAD.length))).toBe(true);
    expect(image.subarray(HEAD.length).equals(original.subarray(HEAD.length))).toBe(true);
  });

  it.each(['kernel.0', 'skeleton.0'])('ends when %s is gone, and names what is lost', async (pack) => {
    await store();
    await fixture.store.remove(objectPath(manifest.snapshot, pack));
    const error = await rebuild().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ParsError);
    expect(error).toMatchObject({ kind: 'lost', message: expect.stringContaining(pack) });
  });

  it('survives the loss of all but one copy of everything critical', async () => {
    await store();
    for (const name of ['kernel.0', 'skeleton.0', 'index']) {
      await fixture.corruptOneCopy(objectPath(manifest.snapshot, name));
      await fixture.corruptOneCopy(objectPath(manifest.snapshot, name));
    }
    expect((await rebuild()).image.equals(original)).toBe(true);
  });

  it('stops when told to', async () => {
    await store();
    await expect(rebuild({ signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough');
  });
});

describe('assembling in order', () => {
  /** What the last attempt gave out, and how many there were. */
  async function inOrder(
    from: number,
    store: Store = fixture.store,
  ): Promise<{ image: Buffer; attempts: number; losses: Losses }> {
    const source = await SnapshotSource.open(store, manifest);
    let attempts = 0;
    return assembleInOrder(source, { from }, async (produce) => {
      attempts++;
      const pieces: Buffer[] = [];
      const losses = await produce(async (data) => void pieces.push(Buffer.from(data)));
      return { image: Buffer.concat(pieces), attempts, losses };
    });
  }

  it('gives out every byte from where it is told to', async () => {
    await store();
    for (const from of [0, 92, HEAD.length, kernelAt + 1]) {
      const { image, attempts } = await inOrder(from);
      expect(image.equals(original.subarray(from))).toBe(true);
      expect(attempts).toBe(1);
    }
  });

  it('turns pages the policy had not stored into zero records, and tells the guest', async () => {
    await store(false);
    const { image, losses, attempts } = await inOrder(0);
    expect(image.equals((await rebuild({ layout: 'packed' })).image)).toBe(true);
    expect([losses.recovered, attempts]).toEqual([PAGES, 1]);
  });

  it('begins again when pages turn out to be gone that change what was given out', async () => {
    await store();
    await fixture.store.remove(objectPath(manifest.snapshot, 'clean-cache.0'));
    const { image, losses, attempts } = await inOrder(0, slowRecovery(fixture.store));
    expect(image.equals(withoutCache())).toBe(true);
    expect(losses).toEqual({ byPolicy: 0, unexpected: PAGES, recovered: PAGES });
    expect(attempts).toBe(2);
  });

  it.each(['kernel.0', 'skeleton.0'])(
    'ends when %s is gone, and nobody waits for his turn for ever',
    async (pack) => {
      await store();
      await fixture.store.remove(objectPath(manifest.snapshot, pack));
      await expect(inOrder(0)).rejects.toMatchObject({ kind: 'lost' });
    },
  );
});

/** The cache's loss is learned of only after the kernel's stripe has been written. */
function slowRecovery(inner: Store): Store {
  const readRange: Store['readRange'] = async (name, ...rest) => {
    if (name.endsWith('clean-cache.0')) await new Promise((resolve) => setTimeout(resolve, 100));
    return inner.readRange(name, ...rest);
  };
  return new Proxy(inner, {
    get: (target, key) =>
      key === 'readRange'
        ? readRange
        : (Reflect.get(target, key) as (...args: unknown[]) => unknown).bind(target),
  });
}
