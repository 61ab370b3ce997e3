// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { ParsError } from '../../src/errors.js';
import {
  decodeIndex,
  encodeIndex,
  isStored,
  noDigest,
  packName,
  type IndexFrame,
  type IndexStripe,
} from '../../src/snapshot/index-table.js';

const DIGEST = 'ab'.repeat(32);
const HEAD = 4 << 20;
const STRIPE = 8 << 20;

function frame(kind: number, pages: number, changes: Partial<IndexFrame> = {}): IndexFrame {
  const rawBytes = kind < 12 ? pages * 4096 : kind === 12 ? pages * 8 : 5000;
  return { kind, pack: 0, rawBytes, offset: 0, bytes: 100, pages, sha256: DIGEST, ...changes };
}

function sound(): IndexStripe[] {
  const lost = frame(1, 10, { bytes: 0, sha256: noDigest() });
  return [
    { imageOffset: 0, imageBytes: HEAD, frames: [frame(13, 0)] },
    {
      imageOffset: HEAD,
      imageBytes: STRIPE,
      frames: [
        frame(0, 100),
        lost,
        frame(2, 7, { pack: 3, offset: 50 }),
        frame(12, 9),
        frame(13, 0),
        frame(14, 0),
      ],
    },
  ];
}

const packs = new Map([
  ['skeleton.0', 1000],
  ['kernel.0', 100],
  ['clean-cache.3', 150],
]);
const bounds = { imageBytes: HEAD + STRIPE, packBytes: (name: string) => packs.get(name), mapped: false };

function problem(stripes: IndexStripe[]): string {
  return problemOf(encodeIndex(stripes));
}

function problemOf(data: Buffer): string {
  try {
    decodeIndex(data, bounds);
    return '';
  } catch (error) {
    return error instanceof ParsError && error.kind === 'corrupt'
      ? error.message
      : `not a ParsError: ${String(error)}`;
  }
}

function changed(change: (stripes: IndexStripe[]) => void): IndexStripe[] {
  const stripes = sound();
  change(stripes);
  return stripes;
}

describe('the index', () => {
  it('comes back as it was written', () => {
    expect(decodeIndex(encodeIndex(sound()), bounds)).toEqual(sound());
  });

  it('names the pack of each kind of frame, and tells what is not stored', () => {
    expect([packName(0, 1), packName(6, 0), packName(12, 2), packName(13, 0), packName(14, 5)]).toEqual([
      'kernel.1',
      'anon.0',
      'skeleton.2',
      'skeleton.0',
      'skeleton.5',
    ]);
    expect(sound()[1]!.frames.map(isStored)).toEqual([true, false, true, true, true, true]);
  });

  const faults: [string, RegExp, (stripes: IndexStripe[]) => void][] = [
    ['a gap between stripes', /begins at/, (s) => (s[1]!.imageOffset += 8)],
    ['a stripe of no bytes', /bytes long/, (s) => (s[0]!.imageBytes = 0)],
    ['stripes that end before the image', /cover/, (s) => (s[1]!.imageBytes -= 8)],
    ['no skeleton', /no skeleton/, (s) => s[0]!.frames.pop()],
    ['two frames of one kind', /two frames/, (s) => s[1]!.frames.push(frame(0, 1))],
    ['an unknown kind', /unknown kind/, (s) => s[1]!.frames.push(frame(15, 0))],
    ['a frame past the end of its pack', /reaches past/, (s) => (s[1]!.frames[0]!.offset = 1)],
    ['a frame in a pack that is not there', /does not list/, (s) => (s[1]!.frames[0]!.pack = 1)],
    ['a length that is not that of its pages', /pages in/, (s) => (s[1]!.frames[0]!.rawBytes -= 1)],
    ['more pages than the stripe has room for', /pages in/, (s) => (s[1]!.frames[0] = frame(0, 3000))],
    ['a skeleton that is not stored', /is empty/, (s) => (s[0]!.frames[0]!.bytes = 0)],
    ['a digest of nothing', /is empty/, (s) => (s[1]!.frames[1]!.sha256 = DIGEST)],
  ];
  it.each(faults)('with %s is damaged', (_, message, change) => {
    expect(problem(changed(change))).toMatch(message);
  });

  it('of a sparse image may have holes: stripes of any length without frames', () => {
    const hole = { imageOffset: HEAD + STRIPE, imageBytes: 2 ** 36, frames: [] };
    const data = encodeIndex([...sound(), hole]);
    expect(problemOf(data)).toMatch(/bytes long/);
    expect(
      decodeIndex(data, { ...bounds, imageBytes: HEAD + STRIPE + 2 ** 36, mapped: true }).at(-1),
    ).toEqual(hole);
  });

  it('cut short or with counts that lie is damaged', () => {
    const data = encodeIndex(sound());
    for (let length = 0; length < data.length; length += 7)
      expect(problemOf(data.subarray(0, length)), `${length} bytes`).not.toBe('');
    for (const at of [8, 12]) {
      const lying = Buffer.from(data);
      lying.writeUInt32LE(0xffffffff, at);
      expect(problemOf(lying)).toMatch(/cannot hold/);
    }
  });

  it('with any byte flipped decodes to itself or is damaged, never crashes', () => {
    const data = encodeIndex(sound());
    for (let at = 0; at < data.length; at++) {
      const flipped = Buffer.from(data);
      flipped[at]! ^= 0x81;
      expect(problemOf(flipped)).not.toMatch(/^not a ParsError/);
    }
  });
});
