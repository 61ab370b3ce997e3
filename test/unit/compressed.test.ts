// SPDX-License-Identifier: Apache-2.0
/**
 * Images saved through a compressor: reported on, offloaded, refilled in the same format, and no start from
 * their stubs. Needs the five compressors.
 */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ImageFile } from '../../src/image/image-file.js';
import { restore } from '../../src/lifecycle/restore.js';
import { unpackImage } from '../../src/image/unpacked.js';
import { probeImage } from '../../src/reader/reader.js';
import { explainPages, lookInside, StubFound } from '../../src/report/image-report.js';
import { readManifest } from '../../src/snapshot/snapshots.js';
import { COMPRESSED_FORMATS, compressImage, rawImage, streamOf } from '../support/compressed.js';
import { smallImage } from '../support/image-builder.js';
import { imageFixture, type ImageFixture } from '../support/image-fixture.js';

const { bytes: raw, streamOffset } = smallImage({ frames: 3000 });

let fixture: ImageFixture;
let image: string;

beforeEach(async () => {
  fixture = await imageFixture();
  ({ image } = fixture);
});
afterEach(() => fixture.dispose());

describe.each(COMPRESSED_FORMATS)('an image saved as %s', (format) => {
  const compressed = compressImage(raw, format);

  beforeEach(() => writeFileSync(image, compressed));

  it('becomes a stub that no QEMU reads, and in the same inode an image of that stream again', async () => {
    const { ino } = statSync(image);
    const done = await fixture.offload();
    expect(done).toMatchObject({ stub: true, imageBytes: compressed.length });
    expect(statSync(image)).toMatchObject({ ino, size: compressed.length });
    expect(statSync(image).blocks * 512).toBeLessThan(1 << 20);
    expect(streamOf(image).toString(), 'something to read, that is no stream').toBe(
      'This is the stub of an image whose pages are in the store of Pars.\n',
    );
    expect(
      readFileSync(image).subarray(0, streamOffset).equals(compressed.subarray(0, streamOffset)),
      'header and XML stay',
    ).toBe(true);
    await expect(lookInside(image)).rejects.toBeInstanceOf(StubFound);
    expect(await fixture.offload(), 'again').toMatchObject({ alreadyStub: true });
    const { bytes, hydrated } = await fixture.hydrate();
    expect(hydrated).toBe(true);
    expect(statSync(image)).toMatchObject({ ino, size: bytes });
    expect(rawImage(image)?.equals(raw)).toBe(true);
    expect(readFileSync(image).readUInt32LE(28)).toBe(1 + COMPRESSED_FORMATS.indexOf(format));
    expect(readdirSync(dirname(image)), 'nothing beside it').toEqual(['g.save']);
  });

  it('is reported on like the raw image it stands for', async () => {
    const { image: facts, inspection } = await lookInside(image);
    expect(facts).toMatchObject({ bytes: compressed.length, rawBytes: raw.length, format, streamOffset });
    writeFileSync(join(fixture.root, 'raw'), raw);
    expect(inspection).toEqual((await lookInside(join(fixture.root, 'raw'))).inspection);
    expect((await explainPages(image, 0x10, 2)).pages).toHaveLength(2);
    expect(readdirSync(dirname(image))).toEqual(['g.save']);
  });

  it('stored beside it, is restored as the raw image', async () => {
    const { snapshot } = await fixture.offload({ keepLocal: true });
    expect(readFileSync(image).equals(compressed)).toBe(true);
    expect((await readManifest(fixture.store, snapshot)).image).toMatchObject({
      format,
      bytes: compressed.length,
      rawBytes: raw.length,
    });
    const path = join(fixture.root, 'restored');
    await restore(fixture.store, snapshot, path, { force: false });
    expect(readFileSync(path).equals(raw)).toBe(true);
  });

  it('cut short stays whole and leaves nothing in the store; a copy of it is stored as it is', async () => {
    const short = compressed.subarray(0, Math.floor(compressed.length * 0.8));
    writeFileSync(image, short);
    await expect(fixture.offload()).rejects.toMatchObject({
      kind: 'corrupt',
      message: expect.stringContaining(format),
    });
    expect(readFileSync(image).equals(short)).toBe(true);
    expect(await fixture.store.list('')).toEqual([]);
    const { snapshot } = await fixture.offload({ keepLocal: true });
    const path = join(fixture.root, 'restored');
    await restore(fixture.store, snapshot, path, { force: false });
    expect(readFileSync(path).equals(short)).toBe(true);
  });
});

describe('an image', () => {
  it('that is compressed is not unpacked without end', async () => {
    writeFileSync(image, compressImage(raw, 'zstd'));
    const file = await ImageFile.open(image);
    try {
      const facts = await probeImage(file.fd);
      await expect(unpackImage(file, facts, { mostBytes: 4 << 20 })).rejects.toMatchObject({
        kind: 'corrupt',
        message: expect.stringContaining('unpacks to more than'),
      });
      await (await unpackImage(file, facts, { mostBytes: raw.length })).close();
    } finally {
      await file.close();
    }
    expect(readdirSync(dirname(image))).toEqual(['g.save']);
  });

  it('that was compressed stays a stub while its critical data is away', async () => {
    writeFileSync(image, compressImage(raw, 'zstd'));
    const { snapshot } = await fixture.offload();
    const stub = readFileSync(image);
    await fixture.store.remove(`${snapshot}/skeleton.0`);
    await expect(fixture.hydrate()).rejects.toMatchObject({ kind: 'lost' });
    expect(readFileSync(image).equals(stub)).toBe(true);
    expect(statSync(image).blocks * 512).toBeLessThan(1 << 20);
  });
});
