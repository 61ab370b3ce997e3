// SPDX-License-Identifier: Apache-2.0
/**
 * The types that Pars reads, resolved on the type information of real kernels: one of each kind that needs
 * another way. test/slow/kernel-layouts.test.ts does so for every series and flavour that Debian offers.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import {
  expectedLayouts,
  layoutsOf,
  newestOfEach,
  offeredKernels,
  type KernelPackage,
} from '../support/kernel-layouts.js';
import { labMissing } from '../support/lab.js';

/** Inverted page types and iomap_page; types of btrfs four times; the six bitmaps; the newest there is. */
const SERIES = ['6.1', '6.16', '6.18'];

describe.skipIf(labMissing() !== undefined)('layouts of real kernels', () => {
  let kernels: KernelPackage[];
  beforeAll(async () => {
    kernels = newestOfEach(await offeredKernels()).filter(({ flavour }) => flavour === 'amd64');
  });

  test.each([...SERIES, 'the newest'])('%s', async (series) => {
    const kernel = series === 'the newest' ? kernels.at(-1) : kernels.find((one) => one.series === series);
    if (!kernel) throw new Error(`Debian offers no kernel ${series} any more: choose another of its kind`);
    expect(await layoutsOf(kernel)).toMatchObject({ ...expectedLayouts(kernel, true), modules: true });
  });
});
