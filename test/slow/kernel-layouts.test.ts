// SPDX-License-Identifier: Apache-2.0
/**
 * The types that Pars reads, resolved on the type information of every series and flavour of kernel that
 * Debian offers.
 */
import { expect, test } from 'vitest';
import { expectedLayouts, layoutsOf, newestOfEach, offeredKernels } from '../support/kernel-layouts.js';

const LEAST_SERIES = 9;

test(
  'every kernel that the suites offer is resolved',
  async () => {
    const kernels = newestOfEach(await offeredKernels());
    expect(new Set(kernels.map(({ series }) => series)).size).toBeGreaterThanOrEqual(LEAST_SERIES);
    for (const kernel of kernels) {
      const layouts = await layoutsOf(kernel);
      expect.soft(layouts, kernel.name).toMatchObject(expectedLayouts(kernel, layouts.modules));
    }
  },
  3 * 60 * 60_000,
);
