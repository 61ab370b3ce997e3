// SPDX-License-Identifier: Apache-2.0
/** A store with room for three images carries a year of daily saves of one guest, and nobody prunes (R28). */
import { it } from 'vitest';
import { dailySaves } from '../support/daily-saves.js';
import { DAY, useOwnedSnapshots } from '../support/owned-snapshots.js';

useOwnedSnapshots();

it.each([
  ['by default', {}],
  ['that keeps consumed ones for a day', { consumedMs: DAY }],
])('a store of three images, %s, carries a year of daily saves', async (_, retention) => {
  await dailySaves(365, retention);
});
