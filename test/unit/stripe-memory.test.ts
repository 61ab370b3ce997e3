// SPDX-License-Identifier: Apache-2.0
/** Memory of a stripe is used again when all of it was given up, and not before. */
import { expect, it } from 'vitest';
import { StripeMemory } from '../../src/reader/stripe-memory.js';

const MIB = 1 << 20;

it('the next stripe has the memory of one that was released, not of one that is still read', () => {
  const memory = new StripeMemory();
  const first = memory.begin(MIB);
  const pieces = [first.take(1000), first.take(2000)] as const;
  pieces[0].fill(1);
  pieces[1].fill(2);
  expect(pieces.map((piece) => piece.length)).toEqual([1000, 2000]);
  expect(pieces[0].every((byte) => byte === 1)).toBe(true);
  first.release();
  first.release();
  const second = memory.begin(MIB).take(1000);
  expect(second.buffer).not.toBe(pieces[0].buffer);
  first.release();
  const third = memory.begin(MIB).take(1000);
  expect(third.buffer).toBe(pieces[0].buffer);
  expect(third.byteOffset).toBe(pieces[0].byteOffset);
});

it('a larger stripe has memory that is large enough, and a smaller one takes it afterwards', () => {
  const memory = new StripeMemory();
  memory.begin(MIB).release();
  const large = memory.begin(17 * MIB);
  expect(large.memory.length).toBeGreaterThanOrEqual(17 * MIB);
  const { buffer } = large.memory;
  memory.begin(MIB);
  large.release();
  expect(memory.begin(2 * MIB).memory.buffer).toBe(buffer);
});

it('of more than a few idle blocks the small ones are given back', () => {
  const memory = new StripeMemory();
  const blocks = [9, 1, 13, 5, 17, 21].map((mib) => memory.begin(mib * MIB));
  for (const block of blocks) block.release();
  const kept = [1, 1, 1, 1].map(() => memory.begin(MIB).memory.length / MIB);
  expect(kept).toEqual([12, 16, 20, 24]);
});
