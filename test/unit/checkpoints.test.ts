// SPDX-License-Identifier: Apache-2.0
/** Which checkpoints retention gives up, and what they are called. */
import { expect, it } from 'vitest';
import { type Checkpoint, expired, newCheckpointName } from '../../src/lifecycle/checkpoints.js';

const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 10, 30, 12);

/** One an hour, the last of them now. */
function hourly(count: number): Checkpoint[] {
  return Array.from({ length: count }, (_, i) => ({
    name: `c${i}`,
    created: new Date(NOW - (count - 1 - i) * HOUR),
    memory: `/m/c${i}`,
    disks: [],
    state: 'stub' as const,
    stored: null,
  }));
}

it.each([
  [{ keepLast: null, maxAgeMs: null }, []],
  [{ keepLast: 3, maxAgeMs: null }, ['c0', 'c1']],
  [{ keepLast: 9, maxAgeMs: null }, []],
  [{ keepLast: null, maxAgeMs: 2 * HOUR }, ['c0', 'c1']],
  [{ keepLast: 4, maxAgeMs: 2 * HOUR }, ['c0', 'c1']],
  [{ keepLast: 1, maxAgeMs: 1 }, ['c0', 'c1', 'c2', 'c3']],
])('%j gives up %j of five, an hour apart', (retention, names) => {
  expect(expired(hourly(5), retention, NOW).map(({ name }) => name)).toEqual(names);
});

it('never gives up the only one, however old', () => {
  expect(expired(hourly(1), { keepLast: 1, maxAgeMs: 1 }, NOW + 99 * HOUR)).toEqual([]);
});

it('are called after their time, and no two alike', () => {
  const names = Array.from({ length: 8 }, () => newCheckpointName(new Date(NOW)));
  for (const name of names) expect(name).toMatch(/^pars-20261130T120000Z-[0-9a-f]{4}$/);
  expect(new Set(names).size).toBeGreaterThan(1);
});
