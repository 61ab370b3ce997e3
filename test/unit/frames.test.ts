// SPDX-License-Identifier: Apache-2.0
/** Frames packed and unpacked, stripes put together, digests: the native addon's codecs. */
import { closeSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { native, type StripeFrame } from '../../src/native.js';
import { FRAME_FILL, FRAME_SKELETON } from '../../src/page-classes.js';
import { noisePage, PAGE } from '../support/image-builder.js';
import { useOpenFiles } from '../support/open-files.js';

const files = useOpenFiles();

describe('frames', () => {
  it('compress and decompress', async () => {
    for (const data of [Buffer.alloc(0), Buffer.from('x'), noisePage(1), Buffer.alloc(1 << 20, 'abc')]) {
      for (const level of [1, 19]) {
        const frame = await native().compress(data, level);
        expect((await native().decompress(frame, data.length)).equals(data)).toBe(true);
      }
    }
  });

  it('of another length, cut short, with bytes behind, or damaged are corrupt', async () => {
    const data = noisePage(2),
      frame = await native().compress(data, 1);
    const corrupt = { code: 'corrupt' };
    await expect(native().decompress(frame, data.length - 1)).rejects.toMatchObject(corrupt);
    await expect(native().decompress(frame, data.length + 1)).rejects.toMatchObject(corrupt);
    await expect(native().decompress(frame.subarray(0, -1), data.length)).rejects.toMatchObject(corrupt);
    await expect(native().decompress(Buffer.concat([frame, frame]), data.length)).rejects.toMatchObject(
      corrupt,
    );
    await expect(native().decompress(Buffer.from('not a frame'), 11)).rejects.toMatchObject(corrupt);
    await expect(native().decompress(Buffer.alloc(0), 0)).rejects.toMatchObject(corrupt);
  });

  it('of other types are refused at once', () => {
    const any = native() as unknown as Record<string, (...values: unknown[]) => unknown>;
    for (const values of [
      [],
      ['text', 1],
      [Buffer.alloc(1), 0],
      [Buffer.alloc(1), 20],
      [Buffer.alloc(1), 1.5],
      [Buffer.alloc(1), '1'],
      [Buffer.alloc(1), NaN],
    ]) {
      expect(() => any['compress']!(...values)).toThrow(TypeError);
    }
    for (const values of [
      [],
      ['text', 1],
      [Buffer.alloc(1), -1],
      [Buffer.alloc(1), 2 ** 40],
      [Buffer.alloc(1), Infinity],
    ]) {
      expect(() => any['decompress']!(...values)).toThrow(TypeError);
    }
  });
});

/** Record word, page, record word, page, two bytes: one page of free memory, one of kernel. */
async function smallStripe(): Promise<{ bytes: Buffer; frames: StripeFrame[] }> {
  const words = [0x1028, 0x2028].map((word) => {
    const buffer = Buffer.alloc(8);
    buffer.writeBigUInt64BE(BigInt(word));
    return buffer;
  }) as [Buffer, Buffer];
  const pages: [Buffer, Buffer] = [noisePage(1), noisePage(2)],
    tail = Buffer.from('ab');
  const runs = Buffer.alloc(4 + 3 * 16);
  runs.writeUInt32LE(3, 0);
  [
    [8, 1, 8, 1],
    [8, 1, 8, 0],
    [2, 0, 0, 0],
  ].forEach(([lead, count, header, source], i) => {
    const at = 4 + 16 * i;
    runs.writeUInt32LE(lead!, at);
    runs.writeUInt32LE(count!, at + 4);
    runs.writeUInt16LE(header!, at + 8);
    runs.writeUInt8(source!, at + 10);
  });
  const skeleton = Buffer.concat([runs, ...words, tail]);
  const stored = async (kind: number, raw: Buffer): Promise<StripeFrame> => ({
    kind,
    data: await native().compress(raw, 1),
    rawBytes: raw.length,
    lost: null,
  });
  return {
    bytes: Buffer.concat([words[0], pages[0], words[1], pages[1], tail]),
    frames: [await stored(FRAME_SKELETON, skeleton), await stored(1, pages[0]), await stored(0, pages[1])],
  };
}

function write(offset: number, mask: number, value: number): Buffer {
  const buffer = Buffer.alloc(10);
  buffer.writeBigUInt64LE(BigInt(offset));
  buffer.writeUInt8(mask, 8);
  buffer.writeUInt8(value, 9);
  return buffer;
}

describe('stripes', () => {
  const imageOffset = 1_000_000,
    none = Buffer.alloc(0);

  it('are put together', async () => {
    const { bytes, frames } = await smallStripe();
    const built = await native().assembleStripe({
      imageOffset,
      imageBytes: bytes.length,
      frames,
      writes: none,
    });
    expect(built.equals(bytes)).toBe(true);
  });

  it('are put together in memory that is given, if it is enough', async () => {
    const { bytes, frames } = await smallStripe();
    const into = Buffer.alloc(bytes.length + 100, 0xee);
    const built = await native().assembleStripe({
      imageOffset,
      imageBytes: bytes.length,
      frames,
      writes: none,
      into,
    });
    expect(built.equals(bytes)).toBe(true);
    expect([built.buffer, built.byteOffset]).toEqual([into.buffer, into.byteOffset]);
    expect(into.subarray(bytes.length).equals(Buffer.alloc(100, 0xee))).toBe(true);
    const small = into.subarray(0, bytes.length - 1);
    await expect(
      native().assembleStripe({ imageOffset, imageBytes: bytes.length, frames, writes: none, into: small }),
    ).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it('lose free pages, in place or packed, and are recovered beside them', async () => {
    const { bytes, frames } = await smallStripe();
    const target = 8 + PAGE + 8 + 77;
    for (const lost of ['in-place', 'packed'] as const) {
      const lossy = frames.map((frame) => (frame.kind === 1 ? { ...frame, data: null, lost } : frame));
      const built = await native().assembleStripe({
        imageOffset,
        imageBytes: bytes.length,
        frames: lossy,
        writes: write(imageOffset + target, 0xff, 0x5a),
      });
      const expected = Buffer.from(bytes);
      expected.fill(0, 8, 8 + PAGE);
      expected[target] = 0x5a;
      if (lost === 'in-place') {
        expect(built.equals(expected)).toBe(true);
        continue;
      }
      expected[7] = 0x22;
      expect(built.equals(Buffer.concat([expected.subarray(0, 9), expected.subarray(8 + PAGE)]))).toBe(true);
    }
  });

  it('that do not add up, or lose what is critical, are corrupt', async () => {
    const { bytes, frames } = await smallStripe();
    const build = (
      changed: StripeFrame[],
      imageBytes = bytes.length,
      writes: Buffer = none,
    ): Promise<Buffer> => native().assembleStripe({ imageOffset, imageBytes, frames: changed, writes });
    const corrupt = { code: 'corrupt' };
    await expect(build(frames, bytes.length + 1)).rejects.toMatchObject(corrupt);
    await expect(build(frames.slice(1))).rejects.toMatchObject(corrupt);
    await expect(build(frames.slice(0, 2))).rejects.toMatchObject(corrupt);
    await expect(
      build(frames.map((frame) => (frame.kind === 0 ? { ...frame, data: null, lost: 'packed' } : frame))),
    ).rejects.toMatchObject(corrupt);
    await expect(
      build([
        ...frames,
        { kind: FRAME_FILL, data: await native().compress(Buffer.alloc(8), 1), rawBytes: 8, lost: null },
      ]),
    ).rejects.toMatchObject(corrupt);
    for (const offset of [0, imageOffset, imageOffset + 8 + 5, imageOffset + bytes.length]) {
      await expect(
        build(frames, bytes.length, write(offset, 1, 1)),
        `write at ${offset}`,
      ).rejects.toMatchObject(corrupt);
    }
    await expect(build(frames, bytes.length, Buffer.alloc(9))).rejects.toMatchObject(corrupt);
  });

  it('of another shape are refused at once', async () => {
    const { bytes, frames } = await smallStripe();
    const good = { imageOffset, imageBytes: bytes.length, frames, writes: none };
    const assemble = native().assembleStripe as unknown as (value: unknown) => unknown;
    const first = frames[0]!;
    const bad: unknown[] = [
      undefined,
      null,
      'text',
      {},
      { ...good, writes: undefined },
      { ...good, into: 'text' },
      { ...good, imageOffset: -1 },
      { ...good, frames: {} },
      { ...good, frames: [...frames, first] },
      { ...good, frames: [{ ...first, kind: 17 }] },
      { ...good, frames: [{ ...first, rawBytes: 2 ** 50 }] },
      { ...good, frames: [{ ...first, lost: 'maybe' }] },
      { ...good, frames: [{ ...first, data: null }] },
      { ...good, frames: [{ ...first, data: 'text' }] },
      { ...good, frames: [{ ...first, lost: 'packed' }] },
      { ...good, frames: [null] },
      { ...good, frames: new Array(1000).fill(first) },
    ];
    for (const value of bad) expect(() => assemble(value)).toThrow(TypeError);
  });

  it('keep their buffers while the work runs', async () => {
    const { bytes, frames } = await smallStripe();
    const work = Array.from({ length: 50 }, () =>
      native().assembleStripe({
        imageOffset,
        imageBytes: bytes.length,
        writes: Buffer.alloc(0),
        frames: frames.map((frame) => ({ ...frame, data: frame.data && Buffer.from(frame.data) })),
      }),
    );
    const garbage = Array.from({ length: 200 }, () => Buffer.alloc(100_000, 0xff));
    for (const built of await Promise.all(work)) expect(built.equals(bytes)).toBe(true);
    expect(garbage.length).toBe(200);
  });
});

describe('hashes', () => {
  const KNOWN = { empty: '99aa06d3014798d86001c324468d497f' };

  it('are XXH3-128, as others print it', () => {
    expect(native().newHash().digest()).toBe(KNOWN.empty);
  });

  it.each([0, 1, 4095, 4096, 4097, 4 << 20, (4 << 20) + 1, 9_000_001])(
    'of a file of %i bytes are those of its bytes',
    async (bytes) => {
      const data = Buffer.alloc(bytes, noisePage(bytes % 100));
      const hash = native().newHash();
      for (let at = 0; at < bytes; at += 1_000_003) hash.update(data.subarray(at, at + 1_000_003));
      expect(await native().hashFileUncached(files.open(files.file(data), 'r'))).toEqual({
        xxh3: hash.digest(),
        bytes,
      });
    },
  );

  it('are had through a descriptor that can only write', async () => {
    const hash = native().newHash();
    hash.update(Buffer.from('hello'));
    const fd = files.open(files.file('hello'), 'a');
    expect(await native().hashFileUncached(fd)).toEqual({ xxh3: hash.digest(), bytes: 5 });
  });

  it('are had where the file system cannot read directly', async () => {
    const path = `/dev/shm/pars-native-test-${process.pid}`;
    writeFileSync(path, noisePage(5));
    const fd = openSync(path, 'r');
    try {
      const hash = native().newHash();
      hash.update(noisePage(5));
      expect(await native().hashFileUncached(fd)).toEqual({ xxh3: hash.digest(), bytes: PAGE });
    } finally {
      closeSync(fd);
      rmSync(path);
    }
  });

  it('of a descriptor that is none are an error with a code', async () => {
    await expect(native().hashFileUncached(9999)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
