// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from 'vitest/config';

/** What needs more software: see scripts/slow-tests. */
export default defineConfig({
  test: {
    include: ['test/slow/**/*.test.ts'],
    testTimeout: 10 * 60_000,
    hookTimeout: 30 * 60_000,
    fileParallelism: false,
  },
});
