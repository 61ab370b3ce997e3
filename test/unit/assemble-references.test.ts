// SPDX-License-Identifier: Apache-2.0
/**
 * What comes back of pages that only a disk of the guest's holds, on a snapshot made by hand: three pages of
 * a "kernel" that know of three cached pages, which are on a disk in a file.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { open, type FileHandle } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { assemble, type Losses } from '../../src/snapshot/assemble.js';
import { assembleInOrder } from '../../src/snapshot/assemble-in-order.js';
import { GuestDisks } from '../../src/disks/guest-disks.js';
import { encodeIndex, packName, type IndexFrame } from '../../src/snapshot/index-table.js';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { decodeManifest, encodeManifest } from '../../src/snapshot/manifest-codec.js';
import { native } from '../../src/native.js';
import {
  FRAME_DISK,
  FRAME_DISK_RECOVERY,
  FRAME_SKELETON,
  PAGE_CLASSES,
  type PageClass,
} from '../../src/page-classes.js';
import type { DiskPlaces } from '../../src/snapshot/referenced-pages.js';
import { SnapshotSource } from '../../src/snapshot/snapshot-source.js';
import { objectPath } from '../../src/snapshot/snapshots.js';
import { noisePage, PAGE } from '../support/image-builder.js';
import { localFixture, type LocalFixture } from '../support/local-store.js';
import { sampleManifest } from '../support/manifests.js';

const KERNEL = 0;
const PAGES = 3;
const RECORD = PAGE + 8;
const HEAD = Buffer.alloc(1000, 'h');
const DISK_OFFSET = 1536;

const kernel = stripeBytes(1),
  cached = stripeBytes(100);
const kernelAt = HEAD.length,
  cachedAt = kernelAt + kernel.image.length;
const original = Buffer.concat([HEAD, kernel.image, cached.image]);
/** The byte in the kernel that says a cached page is there, and what it is without. */
const flagAt = kernelAt + RECORD + 8 + 77;
const flagAfter = (original[flagAt]! & ~0x0f) | 0x04;

let directory: string, disk: string;
let fixture: LocalFixture;
let manifest: Manifest;

beforeEach(async () => {
  fixture = await localFixture();
  directory = mkdtempSync(join(tmpdir(), 'pars-disk-'));
  disk = join(directory, 'vda.raw');
  writeFileSync(disk, Buffer.concat([Buffer.alloc(DISK_OFFSET, 'd'), cached.pages, Buffer.alloc(PAGE)]));
});
afterEach(async () => {
  rmSync(directory, { recursive: true });
  await fixture.dispose();
});

function stripeBytes(seed: number): { image: Buffer; pages: Buffer } {
  const pages = Buffer.concat(Array.from({ length: PAGES }, (_, i) => noisePage(seed + i)));
  const records = Array.from({ length: PAGES }, (_, i) =>
    Buffer.concat([recordWord(seed + i), pages.subarray(i * PAGE, (i + 1) * PAGE)]),
  );
  return { image: Buffer.concat(records), pages };
}

function recordWord(frame: number): Buffer {
  const word = Buffer.alloc(8);
  word.writeBigUInt64BE(BigInt(frame) * 4096n + 0x28n);
  return word;
}

function skeletonOf(image: Buffer, source: number): Buffer {
  const run = Buffer.alloc(4 + 16);
  run.writeUInt32LE(1, 0);
  run.writeUInt32LE(8, 4);
  run.writeUInt32LE(PAGES, 8);
  run.writeUInt16LE(8, 12);
  run.writeUInt8(source, 14);
  const words = Array.from({ length: PAGES }, (_, i) => image.subarray(i * RECORD, i * RECORD + 8));
  return Buffer.concat([run, ...words]);
}

/** One reference a page, so that each is lost by itself. */
function references(pageClass: PageClass, diskNumber = 0): Buffer {
  const out = Buffer.alloc(8 + 32 * PAGES);
  out.writeUInt32LE(1, 0);
  out.writeUInt32LE(PAGES, 4);
  for (let i = 0; i < PAGES; i++) {
    const at = 8 + 32 * i;
    out.writeBigUInt64LE(BigInt(DISK_OFFSET + i * PAGE), at);
    out.writeUInt16LE(diskNumber, at + 8);
    out.writeUInt16LE(1, at + 10);
    out.writeUInt8(PAGE_CLASSES.indexOf(pageClass), at + 12);
    const page = cached.pages.subarray(i * PAGE, (i + 1) * PAGE);
    createHash('sha256')
      .update(page)
      .digest()
      .copy(out, at + 16, 0, 16);
  }
  return out;
}

function recovery(): Buffer {
  const out = Buffer.alloc(18);
  out.writeUInt32LE(1, 0);
  out.writeUInt32LE(1, 4);
  out.writeBigUInt64LE(BigInt(flagAt), 8);
  out.writeUInt8(0x0f, 16);
  out.writeUInt8(0x04, 17);
  return out;
}

async function store(pageClass: PageClass, table = references(pageClass)): Promise<void> {
  const snapshot = sampleManifest().snapshot;
  const packs = new Map<string, Buffer[]>();
  const add = async (kind: number, pages: number, raw: Buffer): Promise<IndexFrame> => {
    const data = await native().compress(raw, 1);
    const parts = packs.get(packName(kind, 0)) ?? [];
    packs.set(packName(kind, 0), [...parts, data]);
    const offset = parts.reduce((sum, part) => sum + part.length, 0);
    return { kind, pack: 0, rawBytes: raw.length, offset, bytes: data.length, pages, sha256: digest(data) };
  };
  const headSkeleton = Buffer.concat([wholeRun(HEAD.length), HEAD]);
  const stripes = [
    { imageOffset: 0, imageBytes: HEAD.length, frames: [await add(FRAME_SKELETON, 0, headSkeleton)] },
    {
      imageOffset: kernelAt,
      imageBytes: kernel.image.length,
      frames: [
        await add(FRAME_SKELETON, 0, skeletonOf(kernel.image, KERNEL)),
        await add(KERNEL, PAGES, kernel.pages),
      ],
    },
    {
      imageOffset: cachedAt,
      imageBytes: cached.image.length,
      frames: [
        await add(FRAME_SKELETON, 0, skeletonOf(cached.image, FRAME_DISK)),
        await add(FRAME_DISK, PAGES, table),
        await add(FRAME_DISK_RECOVERY, 0, recovery()),
      ],
    },
  ];
  const index = encodeIndex(stripes);
  packs.set('index', [index]);
  const objects = [];
  for (const [name, parts] of packs) {
    const writer = await fixture.store.create(objectPath(snapshot, name), { copies: 3, critical: true });
    for (const part of parts) await writer.write(part);
    objects.push({ ...(await writer.close()), name });
  }
  const base = sampleManifest();
  const none = Object.fromEntries(PAGE_CLASSES.map((name) => [name, 0])) as Record<PageClass, number>;
  manifest = {
    ...base,
    format: 4,
    references: { pages: PAGES, classes: { ...none, [pageClass]: PAGES } },
    objects,
    index: { name: 'index', bytes: index.length, sha256: digest(index) },
    image: { ...base.image, bytes: original.length },
    disks: [{ target: 'vda', source: disk, bytes: null, mtimeNs: null, identity: null, readOnly: false }],
  };
}

function wholeRun(bytes: number): Buffer {
  const run = Buffer.alloc(20);
  run.writeUInt32LE(1, 0);
  run.writeUInt32LE(bytes, 4);
  return run;
}

function digest(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

async function assembled(places: DiskPlaces = {}): Promise<{ image: Buffer; losses: Losses }> {
  const source = await SnapshotSource.open(
    fixture.store,
    decodeManifest(encodeManifest(manifest), manifest.snapshot),
  );
  const image = Buffer.alloc(original.length);
  const sink = {
    write: (data: Buffer, offset: number) => {
      data.copy(image, offset);
      return Promise.resolve();
    },
  };
  const options = { layout: 'packed' as const, firstStripe: 0, ...places };
  return { image, losses: await assemble(source, sink, options) };
}

/** The second of the three pages, with one byte changed. */
function changeDisk(): void {
  const changed = Buffer.from(cached.pages);
  changed[PAGE + 5]! ^= 1;
  writeFileSync(disk, Buffer.concat([Buffer.alloc(DISK_OFFSET, 'd'), changed]));
}

describe('pages that only a disk holds', () => {
  it('come back as they were', async () => {
    await store('mapped-cache');
    const { image, losses } = await assembled();
    expect(image.equals(original)).toBe(true);
    expect(losses).toEqual({ byPolicy: 0, unexpected: 0, recovered: 0 });
  });

  it('are recovered when the disk has changed and they are clean', async () => {
    await store('clean-cache');
    changeDisk();
    const { image, losses } = await assembled();
    expect(losses).toEqual({ byPolicy: 0, unexpected: 1, recovered: 1 });
    const expected = Buffer.from(original);
    expected.fill(0, cachedAt + RECORD + 8, cachedAt + 2 * RECORD);
    expected[flagAt] = flagAfter;
    expect(image.equals(expected)).toBe(true);
  });

  it('are recovered in a stream too, which begins again', async () => {
    await store('clean-cache');
    changeDisk();
    const source = await SnapshotSource.open(fixture.store, manifest);
    const { image, losses } = await assembleInOrder(source, { from: 0 }, async (produce) => {
      const parts: Buffer[] = [];
      const told = await produce((data) => Promise.resolve(void parts.push(Buffer.from(data))));
      return { image: Buffer.concat(parts), losses: told };
    });
    expect(losses.unexpected).toBe(1);
    expect(image[flagAt]).toBe(flagAfter);
  });

  it('are lost when the disk has changed and the guest needs them, and the place is named', async () => {
    await store('mapped-cache');
    changeDisk();
    await expect(assembled()).rejects.toMatchObject({
      kind: 'lost',
      message: expect.stringContaining(`at byte ${DISK_OFFSET + PAGE} of the disk vda (${disk})`) as string,
    });
  });

  it('cannot be had while the disk is not there, clean or not', async () => {
    await store('clean-cache');
    rmSync(disk);
    await expect(assembled()).rejects.toMatchObject({
      kind: 'unreachable',
      message: expect.stringContaining(`vda (${disk})`) as string,
    });
  });

  it('are found where the disk was moved to', async () => {
    await store('mapped-cache');
    const elsewhere = join(directory, 'elsewhere.raw');
    writeFileSync(elsewhere, Buffer.concat([Buffer.alloc(DISK_OFFSET), cached.pages]));
    rmSync(disk);
    const { image } = await assembled({ movedDisks: new Map([['vda', elsewhere]]) });
    expect(image.equals(original)).toBe(true);
  });

  it('are found in the pool of that name, which is elsewhere on this host', async () => {
    await store('mapped-cache');
    const [recorded] = manifest.disks;
    const pool = { name: 'images', volume: 'vda.raw', path: directory };
    manifest = { ...manifest, disks: [{ ...recorded!, type: 'volume', pool }] };
    const there = join(directory, 'there');
    mkdirSync(there);
    writeFileSync(
      join(directory, 'images.xml'),
      `<pool type='dir'><name>images</name><target><path>${there}</path></target></pool>`,
    );
    renameSync(disk, join(there, pool.volume));
    const { image } = await assembled({ poolDirectories: [directory] });
    expect(image.equals(original)).toBe(true);
  });

  it('cannot be read from a disk that ends before', async () => {
    await store('mapped-cache');
    const begin = [Buffer.alloc(DISK_OFFSET, 'd'), cached.pages.subarray(0, PAGE)];
    writeFileSync(disk, Buffer.concat(begin));
    await expect(assembled()).rejects.toMatchObject({ kind: 'unreachable' });
  });

  it('of a disk that the manifest does not have are not there', async () => {
    await store('mapped-cache', references('mapped-cache', 7));
    await expect(assembled()).rejects.toMatchObject({ kind: 'unreachable' });
  });

  it.each([
    ['a version that is not known', (table: Buffer) => table.writeUInt32LE(2, 0)],
    ['more runs than there are', (table: Buffer) => table.writeUInt32LE(4, 4)],
    ['pages past any disk', (table: Buffer) => table.writeBigUInt64LE(2n ** 61n, 8)],
    ['another number of pages', (table: Buffer) => table.writeUInt16LE(2, 18)],
    ['no class', (table: Buffer) => table.writeUInt8(200, 20)],
  ])('are damaged by a table with %s', async (_, damage) => {
    const table = references('mapped-cache');
    damage(table);
    await store('mapped-cache', table);
    await expect(assembled()).rejects.toMatchObject({ kind: 'corrupt' });
  });
});

function withoutReferences(): Manifest {
  const changed = { ...manifest };
  delete changed.references;
  return changed;
}

describe('manifests', () => {
  it('of format 4 have references, and others have none', async () => {
    await store('mapped-cache');
    const without = withoutReferences();
    const decode = (value: Manifest): Manifest => decodeManifest(encodeManifest(value), manifest.snapshot);
    expect(decode(manifest).references?.pages).toBe(PAGES);
    expect(() => decode(without)).toThrow(/does not agree/);
    expect(() => decode({ ...manifest, format: 1 })).toThrow(/does not agree/);
  });

  it('without references have no frames of disks in their index', async () => {
    await store('mapped-cache');
    const without = withoutReferences();
    const source = SnapshotSource.open(fixture.store, { ...without, format: 1 });
    await expect(source).rejects.toMatchObject({ kind: 'corrupt' });
  });
});

describe('disks to compare with', () => {
  const named = (source: string, more = {}): Parameters<typeof GuestDisks.toCompare>[0][number] => ({
    target: 'vda',
    source,
    format: 'raw',
    readOnly: false,
    bytes: 1,
    mtimeNs: '1',
    identity: 'file 1:1',
    ...more,
  });

  async function numbers(disks: readonly ReturnType<typeof named>[]): Promise<number[]> {
    const opened = await GuestDisks.toCompare(disks);
    await opened.close();
    return opened.list().map(({ number }) => number);
  }

  it('are raw files that the guest writes, and nothing else is opened', async () => {
    const pipe = join(directory, 'pipe'),
      link = join(directory, 'link');
    execFileSync('mkfifo', [pipe]);
    symlinkSync(disk, link);
    const others = [
      named(pipe),
      named(directory),
      named(join(directory, 'none')),
      named('vda.raw'),
      named(''),
      named(disk, { format: 'qcow2' }),
      named(disk, { format: '' }),
      named(disk, { readOnly: true }),
      named(disk, { device: 'cdrom' }),
      named(disk, { identity: null }),
      named(disk, { uncompared: 'for a reason' }),
    ];
    expect(await numbers([...others, named(disk), named(link)])).toEqual([11, 12]);
  });

  it('are flushed before anything is compared, and left out when they cannot be', async () => {
    const handle = await open(disk, 'r');
    const prototype = Object.getPrototypeOf(handle) as FileHandle;
    await handle.close();
    const flushed: number[] = [];
    const sync = vi.spyOn(prototype, 'sync').mockImplementation(function (this: FileHandle) {
      flushed.push(this.fd);
      const failed = Object.assign(new Error('input/output error'), { code: 'EIO' });
      return flushed.length === 1 ? Promise.reject(failed) : Promise.resolve();
    });
    try {
      expect(await numbers([named(disk), named(disk)])).toEqual([1]);
      expect(flushed).toHaveLength(2);
    } finally {
      sync.mockRestore();
    }
  });

  it('are as many as the reader takes', async () => {
    expect(await numbers(Array.from({ length: 100 }, () => named(disk)))).toHaveLength(64);
  });
});
