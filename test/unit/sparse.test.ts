// SPDX-License-Identifier: Apache-2.0
/**
 * Images saved as sparse (QEMU's mapped-ram): reported on, offloaded, and refilled to the same bytes and
 * holes; of lost pages no bit is left.
 */
import {
  closeSync,
  ftruncateSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { restore } from '../../src/lifecycle/restore.js';
import { presetPolicy } from '../../src/policy/policy.js';
import { faultOfBlocks } from '../../src/reader/mapped-blocks.js';
import { explainPages, lookInside, StubFound } from '../../src/report/image-report.js';
import { reportOn } from '../../src/report/report.js';
import { factsFrom } from '../../src/report/stored-report.js';
import { MappedSink } from '../../src/snapshot/mapped-sink.js';
import { decodeManifest } from '../../src/snapshot/manifest-codec.js';
import { encodeManifest, readManifest } from '../../src/snapshot/snapshots.js';
import { SnapshotSource } from '../../src/snapshot/snapshot-source.js';
import {
  HOLE,
  ImageBuilder,
  noisePage,
  PAGE,
  smallImage,
  sparseImage,
  STUB_MAGIC,
} from '../support/image-builder.js';
import { imageFixture, type ImageFixture } from '../support/image-fixture.js';

const { bytes: sparse, streamOffset } = sparseImage();

let fixture: ImageFixture;
let image: string;

beforeEach(async () => {
  fixture = await imageFixture();
  ({ image } = fixture);
  writeSparsely(image, sparse);
});
afterEach(() => fixture.dispose());

/** Zero pages become holes, as QEMU leaves them. */
function writeSparsely(path: string, bytes: Buffer): void {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, bytes.length);
  for (let at = 0; at < bytes.length; at += PAGE) {
    const page = bytes.subarray(at, at + PAGE);
    if (!page.equals(Buffer.alloc(page.length))) writeSync(fd, page, 0, page.length, at);
  }
  closeSync(fd);
}

function allocated(path: string): number {
  return statSync(path).blocks * 512;
}

describe('a sparse image', () => {
  it('becomes a stub that is no stream, and the same bytes in the same inode again, holes too', async () => {
    const { ino } = statSync(image),
      before = allocated(image);
    const done = await fixture.offload();
    expect(done).toMatchObject({ stub: true, imageBytes: sparse.length });
    expect(done.freedBytes).toBeGreaterThan(before - (64 << 10));
    const stub = readFileSync(image);
    expect(stub.length).toBe(sparse.length);
    expect(
      stub.subarray(0, streamOffset).equals(sparse.subarray(0, streamOffset)),
      'header and XML stay',
    ).toBe(true);
    expect(stub.subarray(streamOffset, streamOffset + 8).equals(STUB_MAGIC), 'in place of QEVM').toBe(true);
    expect(allocated(image)).toBeLessThan(64 << 10);
    await expect(lookInside(image)).rejects.toBeInstanceOf(StubFound);
    expect(await fixture.offload(), 'again').toMatchObject({ alreadyStub: true });
    expect(await fixture.hydrate()).toMatchObject({
      hydrated: true,
      bytes: sparse.length,
      losses: { byPolicy: 0, unexpected: 0 },
    });
    expect(statSync(image)).toMatchObject({ ino, size: sparse.length });
    expect(readFileSync(image).equals(sparse)).toBe(true);
    expect(allocated(image), 'what was a hole').toBeLessThan(before + (64 << 10));
  });

  it('is hydrated to the same bytes over what a killed hydration has left', async () => {
    await fixture.offload();
    const fd = openSync(image, 'r+');
    for (let at = streamOffset + 5000; at < sparse.length - 9000; at += 100_000)
      writeSync(fd, Buffer.alloc(9000, 0xee), 0, 9000, at);
    closeSync(fd);
    await fixture.hydrate();
    expect(readFileSync(image).equals(sparse)).toBe(true);
  });

  it('is reported on like the same memory saved raw', async () => {
    const pages = new Map<number, Buffer>(),
      raw = new ImageBuilder()
        .header()
        .ramStart({ 'pc.ram': 6000 * PAGE })
        .part();
    for (let frame = 0; frame < 6000; frame++) {
      const named = frame === 0 ? 'pc.ram' : undefined;
      if (frame % 3 === 0) raw.zero(frame, named);
      else raw.page(frame, frame % 7 === 0 ? Buffer.alloc(PAGE, 0xaa) : noisePage(frame));
      if (frame % 3 !== 0) pages.set(frame, frame % 7 === 0 ? Buffer.alloc(PAGE, 0xaa) : noisePage(frame));
    }
    writeFileSync(
      image,
      new ImageBuilder()
        .header({ format: 6 })
        .mappedStart({ 'pc.ram': { frames: 6000, pages } })
        .ramEnd()
        .devices()
        .build(),
    );
    writeFileSync(join(fixture.root, 'raw'), raw.eos().ramEnd().devices().build());
    const looked = await lookInside(image),
      same = await lookInside(join(fixture.root, 'raw'));
    expect(looked.image.format).toBe('sparse');
    // Of a sparse image no page lies in the head.
    const counts = Object.entries(same.inspection.classes).map(
      ([name, { pages, payloadPages, fillPages, zeroPages }]) =>
        [name, { pages, payloadPages, fillPages, zeroPages }] as const,
    );
    expect(looked.inspection).toMatchObject({
      classes: Object.fromEntries(counts),
      ram: same.inspection.ram,
      guest: same.inspection.guest,
    });
    const policy = presetPolicy('lean'),
      skeleton = reportOn(looked, policy).skeleton.rawBytes;
    expect(skeleton, 'holes are no bytes to store').toBeLessThan(
      reportOn(same, policy).skeleton.rawBytes + (2 << 20),
    );
    expect((await explainPages(image, 0x10, 2)).pages).toHaveLength(2);
  });

  it('stored beside it, is restored as it was; its manifest has the places; holes are free', async () => {
    const { snapshot } = await fixture.offload({ keepLocal: true });
    expect(readFileSync(image).equals(sparse)).toBe(true);
    const manifest = await readManifest(fixture.store, snapshot);
    expect(manifest).toMatchObject({
      format: 3,
      image: { format: 'sparse', bytes: sparse.length, headEnd: streamOffset },
    });
    expect(manifest.image.mappedBlocks).toHaveLength(2);
    const { stripes } = await SnapshotSource.open(fixture.store, manifest);
    expect(stripes.filter(({ frames }) => frames.length === 0).map(({ imageBytes }) => imageBytes)).toEqual([
      (HOLE.end - HOLE.first + 1) * PAGE,
    ]);
    const facts = reportOn(factsFrom(manifest, snapshot), presetPolicy('lean'));
    expect(facts.skeleton.rawBytes).toBeLessThan(4 << 20);
    const path = join(fixture.root, 'restored');
    await restore(fixture.store, snapshot, path, { force: false });
    expect(readFileSync(path).equals(sparse)).toBe(true);
    expect(allocated(path)).toBeLessThan(allocated(image) + (64 << 10));
  });

  it.each([
    ['cut short', sparse.subarray(0, 20 << 20)],
    [
      'of no stream',
      new ImageBuilder()
        .header({ format: 6 })
        .raw(Buffer.alloc(1 << 20, 7))
        .build(),
    ],
    [
      'with a stream of records',
      Buffer.concat([
        new ImageBuilder().header({ format: 6 }).build(),
        smallImage({ frames: 100 }).bytes.subarray(streamOffset),
      ]),
    ],
  ])(
    '%s stays whole and leaves nothing in the store; a copy of it is stored as it is',
    async (_, damaged) => {
      writeFileSync(image, damaged);
      await expect(lookInside(image)).rejects.toMatchObject({
        kind: expect.stringMatching(/corrupt|refused/),
      });
      await expect(fixture.offload()).rejects.toMatchObject({
        kind: expect.stringMatching(/corrupt|refused/),
      });
      expect(readFileSync(image).equals(damaged)).toBe(true);
      expect(await fixture.store.list('')).toEqual([]);
      const { snapshot } = await fixture.offload({ keepLocal: true });
      await restore(fixture.store, snapshot, join(fixture.root, 'restored'), { force: false });
      expect(readFileSync(join(fixture.root, 'restored')).equals(damaged)).toBe(true);
    },
  );

  it('stays a stub while its critical data is away', async () => {
    const { snapshot } = await fixture.offload();
    const stub = readFileSync(image);
    await fixture.store.remove(`${snapshot}/kernel.0`);
    await expect(fixture.hydrate()).rejects.toMatchObject({ kind: 'lost' });
    expect(readFileSync(image).equals(stub)).toBe(true);
    expect(allocated(image)).toBeLessThan(64 << 10);
  });
});

describe('the blocks of a sparse image', () => {
  const block = { bitmapOffset: 1000, pagesOffset: 8192, bytes: 64 * PAGE };
  const next = { bitmapOffset: 8192 + 64 * PAGE, pagesOffset: 8192 + 66 * PAGE, bytes: PAGE };

  it.each([
    ['lie one behind the other', null, [block, next]],
    ['are none', null, []],
    ['reach past the end', 'end', [block, { ...next, bytes: 3 * PAGE }]],
    ['share pages', 'overlaps', [block, { ...next, bitmapOffset: next.bitmapOffset - 1 }]],
    ['have their bitmap among pages', 'overlaps', [{ ...block, bitmapOffset: 8185 }]],
    ['come in another order', 'overlaps', [next, block]],
    ['are not of whole pages', 'whole pages', [{ ...block, bytes: 100 }]],
    ['have no pages', 'whole pages', [{ ...block, bytes: 0 }]],
    ['have places that are not aligned', 'whole pages', [{ ...block, pagesOffset: 8193 }]],
  ])('%s', (_, fault, blocks) => {
    const found = faultOfBlocks(blocks, 8192 + 67 * PAGE);
    if (fault === null) expect(found).toBeNull();
    else expect(found).toContain(fault);
  });

  it('are checked in a manifest', async () => {
    const { snapshot } = await fixture.offload({ keepLocal: true });
    const manifest = await readManifest(fixture.store, snapshot);
    const damaged = {
      ...manifest,
      image: { ...manifest.image, mappedBlocks: [{ ...block, pagesOffset: 2 ** 30 }] },
    };
    expect(() => decodeManifest(encodeManifest(damaged), snapshot)).toThrow(/past the end/);
  });
});

describe('putting a sparse image together', () => {
  const blocks = [{ bitmapOffset: 100, pagesOffset: 2 * PAGE, bytes: 70 * PAGE }];
  const BYTES = 80 * PAGE;
  let file: Buffer, written: number;
  const sink = {
    async write(data: Buffer, offset: number) {
      written += data.length;
      data.copy(file, offset);
    },
  };

  function imageOf(pages: readonly number[]): Buffer {
    const bytes = Buffer.alloc(BYTES);
    bytes.write('head', 0);
    bytes.write('tail', 75 * PAGE + 11);
    for (const page of pages) {
      bytes[100 + (page >> 3)]! |= 1 << (page & 7);
      noisePage(page).copy(bytes, (2 + page) * PAGE);
    }
    return bytes;
  }
  const without = (bytes: Buffer, page: number): Buffer =>
    Buffer.from(bytes).fill(0, (2 + page) * PAGE, (3 + page) * PAGE);
  const PAGES = [0, 1, 5, 40, 41, 69];
  const whole = imageOf(PAGES);

  beforeEach(() => {
    file = Buffer.alloc(BYTES);
    written = 0;
  });

  it.each([BYTES, PAGE * 7, 1234])(
    'in pieces of %i bytes gives back every byte, and writes no hole',
    async (piece) => {
      const mapped = new MappedSink(sink, blocks, BYTES);
      for (let at = 0; at < BYTES; at += piece) await mapped.write(whole.subarray(at, at + piece), at);
      await mapped.finish(false);
      expect(file.equals(whole)).toBe(true);
      if (piece % PAGE === 0) expect(written).toBeLessThanOrEqual((PAGES.length + 2) * PAGE);
    },
  );

  it('leaves no bit of a page that came back as zeros, when pages were lost', async () => {
    const mapped = new MappedSink(sink, blocks, BYTES);
    await mapped.write(without(without(whole, 5), 69), 0);
    await mapped.finish(true);
    expect(file.equals(imageOf([0, 1, 40, 41]))).toBe(true);
  });

  it('keeps a bit of a page of zeros when nothing was lost', async () => {
    const zeros = without(whole, 41),
      mapped = new MappedSink(sink, blocks, BYTES);
    await mapped.write(zeros, 0);
    await mapped.finish(false);
    expect(file.equals(zeros)).toBe(true);
  });

  it('takes what is written last: a page that became zero, one that is not any more', async () => {
    const mapped = new MappedSink(sink, blocks, BYTES);
    await mapped.write(without(whole, 40), 0);
    await mapped.write(without(whole, 1).subarray(PAGE), PAGE);
    await mapped.finish(true);
    expect(file.equals(imageOf([0, 5, 40, 41, 69]))).toBe(true);
  });
});
