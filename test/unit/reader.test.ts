// SPDX-License-Identifier: Apache-2.0
/** The reader and the parent's side of it, on images small enough to write by hand. */
import { describe, expect, it } from 'vitest';
import { PAGE_CLASSES } from '../../src/page-classes.js';
import { PackSession } from '../../src/reader/pack-session.js';
import { probeImage, reportImage } from '../../src/reader/reader.js';
import { decodeStub, encodeStub, MAX_STUB_BYTES, STUB_MAGIC, type StubRecord } from '../../src/image/stub.js';
import {
  domainXml,
  HEAD_BYTES,
  ImageBuilder,
  noisePage,
  PAGE,
  smallImage,
  type SmallImage,
  UUID,
} from '../support/image-builder.js';
import { useOpenFiles } from '../support/open-files.js';
import { imageErrorOf, packed, rebuild, stripesOf } from '../support/packed-image.js';

const files = useOpenFiles();
const fdOf = (bytes: Buffer): number => files.open(files.file(bytes));

describe('probe', () => {
  it('tells header, domain and head', async () => {
    const metadata =
      `<pars:guest xmlns:pars='https://pars.dev/xmlns/guest/1' policy='careful' ` + `offload='no'/>`;
    const image = smallImage({ xml: domainXml({ name: `-a b;$(x)'é`.replace("'", '&apos;'), metadata }) });
    const facts = await probeImage(fdOf(image.bytes));
    expect(facts).toMatchObject({
      bytes: image.bytes.length,
      format: 'raw',
      wasRunning: true,
      streamOffset: image.streamOffset,
      headEnd: image.headEnd,
      stubRecord: null,
    });
    expect(facts.domain).toMatchObject({
      name: `-a b;$(x)'é`,
      uuid: UUID,
      memoryBytes: 32 << 20,
      policy: 'careful',
      optOut: true,
      acceptChangedDisks: false,
      acceptUncomparedDisks: false,
      diskReferences: true,
    });
    expect(facts.headDigest).toMatch(/^[0-9a-f]{64}$/);
  });

  // A head must end at a record, not at the end of a section: pack cuts there, and a stub that disagrees
  // cannot be hydrated.
  it('finds the same head as pack does when a section ends at the boundary', async () => {
    const image = smallImage({ sectionAtHead: true });
    const fd = fdOf(image.bytes);
    const [head] = await packed(fd);
    expect(head?.imageBytes).toBe(image.headEnd);
    expect((await probeImage(fd)).headEnd).toBe(image.headEnd);
  });

  it('knows that a short image has no head', async () => {
    const image = new ImageBuilder()
      .header()
      .ramStart({ 'pc.ram': 8 * PAGE })
      .part()
      .page(0, noisePage(1), 'pc.ram')
      .eos()
      .ramEnd()
      .devices();
    expect(await probeImage(fdOf(image.build()))).toMatchObject({
      headEnd: 0,
      headDigest: null,
      stubRecord: null,
    });
  });
});

/** Head, record, hole. */
function stubOf(image: SmallImage, changes: Partial<StubRecord> = {}): Buffer {
  const bytes = Buffer.alloc(image.bytes.length);
  image.bytes.copy(bytes, 0, 0, image.headEnd);
  encodeStub({
    token: '00112233445566778899aabbccddeeff',
    domainUuid: UUID,
    imageBytes: image.bytes.length,
    offset: image.headEnd,
    headDigest: 'ab'.repeat(32),
    snapshot: `${UUID}/20261123T093000Z-0123abcd`,
    storeUrl: 'file:///store',
    ...changes,
  }).copy(bytes, image.headEnd);
  return bytes;
}

describe('stubs', () => {
  it('the record behind the head is handed over, though all behind it is a hole', async () => {
    const image = smallImage();
    const facts = await probeImage(fdOf(stubOf(image)));
    expect(facts).toMatchObject({ headEnd: image.headEnd, streamOffset: image.streamOffset });
    expect(facts.stubRecord?.length).toBe(MAX_STUB_BYTES);
    expect(decodeStub(facts.stubRecord!, facts.headEnd)).toMatchObject({
      token: '00112233445566778899aabbccddeeff',
      snapshot: `${UUID}/20261123T093000Z-0123abcd`,
    });
  });

  it('copies that a guest has written all over its memory are nothing', async () => {
    const image = smallImage();
    const record = encodeStub({
      token: 'f'.repeat(32),
      domainUuid: UUID,
      imageBytes: image.bytes.length,
      offset: image.headEnd,
      headDigest: 'ab'.repeat(32),
      snapshot: `${UUID}/x`,
      storeUrl: 'file:///evil',
    });
    const page = Buffer.concat([record, noisePage(1)]).subarray(0, PAGE);
    const forged = new ImageBuilder()
      .header()
      .ramStart({ 'pc.ram': 2048 * PAGE })
      .part();
    for (let frame = 0; frame < 2048; frame++) forged.page(frame, page, frame === 0 ? 'pc.ram' : undefined);
    const bytes = forged.eos().ramEnd().devices().build();
    const facts = await probeImage(fdOf(bytes));
    expect(facts.stubRecord).toBeNull();
    expect(facts.headEnd).toBeGreaterThanOrEqual(HEAD_BYTES);
    expect(bytes.subarray(facts.headEnd + 8, facts.headEnd + 16).equals(STUB_MAGIC)).toBe(true);
  });

  it('cannot be taken for an image', async () => {
    const bytes = stubOf(smallImage());
    expect((await imageErrorOf(reportImage(fdOf(bytes)))).code).toMatch(/^(stub|bad-flags)$/);
    expect((await imageErrorOf(PackSession.look(fdOf(bytes)))).code).toMatch(/^(stub|bad-flags)$/);
  });
});

describe('report', () => {
  it('counts pages, and says why a guest is not introspected', async () => {
    const { inspection } = await reportImage(fdOf(smallImage().bytes));
    expect(inspection.guest.introspected).toBe(false);
    expect(inspection.guest.reason).toBeTruthy();
    expect(inspection.stream).toMatchObject({ machine: 'pc-i440fx-7.2', repeatedRecords: 1 });
    const total = PAGE_CLASSES.reduce((sum, name) => sum + inspection.classes[name].pages, 0);
    expect(total).toBe(6144 + 16);
    expect(inspection.classes.free.pages + inspection.classes['clean-cache'].pages).toBe(0);
    const { kernel, device } = inspection.classes;
    expect(device).toMatchObject({ pages: 16, zeroPages: 16 });
    expect(kernel.pages).toBe(6144);
    expect(kernel.fillPages).toBeGreaterThan(500);
    expect(kernel.sample!.pages).toBeGreaterThan(0);
    expect(kernel.sample!.compressedBytes).toBeGreaterThan(0);
  });
});

describe('pack', () => {
  it('sends the image from its first byte to its last, head first, and it comes back the same', async () => {
    const image = smallImage();
    const stripes = await packed(fdOf(image.bytes));
    expect(stripes.length).toBeGreaterThan(2);
    expect(stripes[0]).toMatchObject({ imageOffset: 0, imageBytes: image.headEnd });
    expect(stripes[0]!.frames.map((frame) => frame.kind)).toEqual([13]);
    expect((await rebuild(stripes)).equals(image.bytes)).toBe(true);
  });

  it('refuses to leave out a critical class', async () => {
    const session = await PackSession.look(fdOf(smallImage().bytes));
    const left = stripesOf(
      session,
      PAGE_CLASSES.filter((name) => name !== 'kernel'),
    );
    await expect(left.finally(() => session.close())).rejects.toThrow(
      'the critical class kernel would not be stored',
    );
  });

  it('compresses at the level asked for', async () => {
    const text = new ImageBuilder()
      .header()
      .ramStart({ 'pc.ram': 3072 * PAGE })
      .part();
    for (let frame = 0; frame < 3072; frame++) {
      const page = Buffer.from(
        noisePage(frame % 16)
          .toString('hex')
          .slice(0, PAGE),
      );
      text.page(frame, page, frame === 0 ? 'pc.ram' : undefined);
    }
    const bytes = text.eos().ramEnd().devices().build();
    const sizes: number[] = [];
    for (const level of [1, 12]) {
      const session = await PackSession.look(fdOf(bytes));
      const stripes = await stripesOf(session, PAGE_CLASSES, level).finally(() => session.close());
      expect((await rebuild(stripes)).equals(bytes)).toBe(true);
      sizes.push(
        stripes.flatMap((stripe) => stripe.frames).reduce((sum, frame) => sum + frame.data.length, 0),
      );
    }
    expect(sizes[1]).toBeLessThan(sizes[0]!);
  });

  it('splits a stripe that zero pages make long', async () => {
    const frames = 2_000_000;
    const image = new ImageBuilder()
      .header()
      .ramStart({ 'pc.ram': (frames + 4096) * PAGE })
      .part()
      .page(0, noisePage(0), 'pc.ram');
    for (let frame = 1; frame < 1500; frame++) image.page(frame, noisePage(frame));
    const zeros = Buffer.alloc(9 * frames);
    for (let i = 0; i < frames; i++) zeros.writeBigUInt64BE(BigInt((2000 + i) * PAGE + 0x22), 9 * i);
    const bytes = image
      .raw(zeros)
      .page(frames + 3000, noisePage(7))
      .eos()
      .ramEnd()
      .devices()
      .build();
    const stripes = await packed(fdOf(bytes));
    expect(Math.max(...stripes.map((stripe) => stripe.imageBytes))).toBeLessThanOrEqual(16 << 20);
    expect((await rebuild(stripes)).equals(bytes)).toBe(true);
  });
});

describe('whole', () => {
  it.each([
    ['garbage', Buffer.concat([Buffer.alloc(9 << 20, 'not an image '), noisePage(3)])],
    ['a few bytes', Buffer.from('x')],
    ['an image', smallImage().bytes],
  ])('stores %s as it is', async (_, bytes) => {
    const session = await PackSession.whole(fdOf(bytes), null);
    const stripes = await stripesOf(session).finally(() => session.close());
    expect(
      stripes.flatMap((stripe) => stripe.frames.map((frame) => frame.kind)).every((kind) => kind === 13),
    ).toBe(true);
    expect((await rebuild(stripes)).equals(bytes)).toBe(true);
  });
});
