// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from 'vitest/config';

/** Two projects: what runs anywhere in seconds, and what boots guests. */
export default defineConfig({
  test: {
    // Two files at a time on any machine: each brings its own libvirtd, store and cluster, and a guest under
    // emulation keeps one core busy.
    maxWorkers: 2,
    minWorkers: 1,
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/contract/**/*.test.ts', 'test/regressions/**/*.test.ts'],
          // Seconds on a quiet machine.
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          testTimeout: 30 * 60_000,
          hookTimeout: 30 * 60_000,
        },
      },
    ],
  },
});
