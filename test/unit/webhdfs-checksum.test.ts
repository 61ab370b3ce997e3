// SPDX-License-Identifier: Apache-2.0
/**
 * The checksum computed on the way equals a plain one, however the data is cut. The real cluster's answer:
 * test/integration/webhdfs.test.ts.
 */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { native } from '../../src/native.js';
import { ChecksumOnTheWay, PlainChunkSums, sameChecksum, type ChunkSums } from '../../src/webhdfs/index.js';

/** Bit by bit, reflected polynomial of Castagnoli. */
function plainCrc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

const cut = (data: Buffer, size: number): Buffer[] =>
  Array.from({ length: Math.ceil(data.length / size) }, (_, i) => data.subarray(i * size, (i + 1) * size));

function plainChecksum(data: Buffer, blockSize: number): string {
  const blocks = cut(data, blockSize).map((block) => {
    const crcs = cut(block, 512).map((chunk) => {
      const crc = Buffer.alloc(4);
      crc.writeUInt32BE(plainCrc32c(chunk));
      return crc;
    });
    return createHash('md5').update(Buffer.concat(crcs)).digest();
  });
  const padded = [32, 64, 128, 256].find((size) => size >= blocks.length * 16) ?? 0;
  const padding = Buffer.alloc(padded - blocks.length * 16);
  return createHash('md5')
    .update(Buffer.concat([...blocks, padding]))
    .digest('hex');
}

const onTheWay = (pieces: Buffer[], blockSize: number, sums: ChunkSums): string => {
  const checksum = new ChecksumOnTheWay(blockSize, sums);
  for (const piece of pieces) checksum.update(piece);
  return checksum.digest();
};

describe('the checksum on the way', () => {
  const data = Buffer.from(Array.from({ length: 40_000 }, (_, i) => (i * 2654435761) >>> 13));

  it('has the check value of CRC-32C in its twin', () =>
    expect(plainCrc32c(Buffer.from('123456789'))).toBe(0xe3069283));

  it.each([0, 1, 511, 512, 513, 4096, 4097, 8192, 12_289, 40_000])(
    'of %i bytes is the plain one, in any pieces',
    (bytes) => {
      const expected = plainChecksum(data.subarray(0, bytes), 4096);
      for (const size of [1, 7, 512, 1000, 4096, 40_000]) {
        const pieces = cut(data.subarray(0, bytes), size);
        expect(onTheWay(pieces, 4096, new PlainChunkSums())).toBe(expected);
        expect(onTheWay(pieces, 4096, native().newChunkSums())).toBe(expected);
      }
    },
  );

  it('is compared only with a checksum of its kind', () => {
    const own = 'ab'.repeat(16);
    const theirs = (algorithm: string, md5: string) => ({
      algorithm,
      bytes: `${'00'.repeat(12)}${md5}00000000`,
      length: 28,
    });
    expect(sameChecksum(own, theirs('MD5-of-0MD5-of-512CRC32C', own))).toBe(true);
    expect(sameChecksum(own, theirs('MD5-of-0MD5-of-512CRC32C', 'ba'.repeat(16)))).toBe(false);
    expect(
      sameChecksum(own, { algorithm: 'COMPOSITE-CRC32C', bytes: '0badcafe', length: 4 }),
    ).toBeUndefined();
  });
});
