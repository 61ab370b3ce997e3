// SPDX-License-Identifier: Apache-2.0
/** How the packs of a snapshot are cut. */
import { expect, it } from 'vitest';
import { FRAME_SKELETON, PAGE_CLASSES } from '../../src/page-classes.js';
import { PackSet, type PackStore } from '../../src/snapshot/pack-set.js';

const MIB = 1 << 20;
const DATA = Buffer.alloc(MIB);

/** Counts, and keeps nothing. */
const counting: PackStore = {
  create: async (name, copies) => {
    let bytes = 0;
    return {
      write: async (data, written) => {
        bytes += data.length;
        written?.();
      },
      close: async () => ({ name, bytes, xxh3: '', copies }),
      abort: async () => {},
    };
  },
  verify: async () => {},
};

async function packsOf(kind: number, mib: number, critical: boolean): Promise<number[]> {
  const set = new PackSet(counting, { copiesOf: () => 1, isCritical: () => critical });
  for (let i = 0; i < mib; i++) await set.add({ kind, pages: 256, rawBytes: MIB, data: DATA });
  return (await set.finish()).map(({ object }) => object.bytes / MIB);
}

it('little expendable data is in many packs, much of it in few more than critical data', async () => {
  const cache = PAGE_CLASSES.indexOf('clean-cache');
  expect(await packsOf(cache, 20, false)).toEqual([4, 4, 4, 4, 4]);
  expect(await packsOf(cache, 500, false)).toEqual([
    4, 4, 4, 4, 8, 8, 8, 8, 16, 16, 16, 16, 32, 32, 32, 32, 64, 64, 64, 64, 4,
  ]);
  expect(await packsOf(FRAME_SKELETON, 500, true)).toEqual([64, 64, 64, 64, 64, 64, 64, 52]);
});
