// SPDX-License-Identifier: Apache-2.0
/** Memory of a stripe is used again when all of it was given up, and not before. */
import { expect, it } from 'vitest';
import { StripeMemory } from '../../src/reader/stripe-memory.js';

const MIB = 1 << 20;

it('the next stripe has the memory of one that was released, not of one that is still read', () => {
  const memory = new StripeMemory();
  const first = memory.begin();
  const pieces = [first.take(1000), first.take(2000)] as const;
  pieces[0].fill(1);
  pieces[1].fill(2);
  expect(pieces.map((piece) => piece.length)).toEqual([1000, 2000]);
  expect(pieces[0].every((byte) => byte === 1)).toBe(true);
  first.release();
  first.release();
  const second = memory.begin().take(1000);
  expect(second.buffer).not.toBe(pieces[0].buffer);
  first.release();
  const third = memory.begin().take(1000);
  expect(third.buffer).toBe(pieces[0].buffer);
  expect(third.byteOffset).toBe(pieces[0].byteOffset);
});

it('what does not fit has memory of its own, and the next block has room for it', () => {
  const memory = new StripeMemory();
  const first = memory.begin();
  const small = first.take(MIB),
    large = first.take(6 * MIB);
  expect(large).toHaveLength(6 * MIB);
  expect(large.buffer).not.toBe(small.buffer);
  for (let i = 0; i < 3; i++) first.release();
  const second = memory.begin();
  expect(second.take(MIB).buffer).toBe(second.take(6 * MIB).buffer);
});

it('no block grows beyond bounds', () => {
  const memory = new StripeMemory();
  const first = memory.begin();
  first.take(60 * MIB);
  first.release();
  first.release();
  expect(memory.begin().take(MIB).buffer.byteLength).toBe(32 * MIB);
});
