// SPDX-License-Identifier: Apache-2.0
/** What dead disks cost: against cases worked out by hand, and against a simulation. */
import { describe, expect, it } from 'vitest';
import { PAGE_CLASSES, type PageClass } from '../../src/page-classes.js';
import { customPolicy } from '../../src/policy/policy.js';
import {
  anyOf,
  DEFAULT_INPUTS,
  durabilityOf,
  lossNow,
  lossPerYear,
  lostShare,
  schemeUnder,
  schemeWhole,
} from '../../src/report/durability.js';

const once = { blocks: 1, cells: 1, fatal: 1 },
  thrice = { blocks: 1, cells: 3, fatal: 3 },
  rs63 = { blocks: 1, cells: 9, fatal: 4 };

describe('disks that are dead now', () => {
  it('by hand: 3 copies on 5 disks, 9 cells on 10', () => {
    expect(lostShare(5, 2, thrice)).toBe(0);
    expect(lostShare(5, 3, thrice)).toBeCloseTo(1 / 10, 12);
    expect(lostShare(5, 1, once)).toBeCloseTo(1 / 5, 12);
    expect(lostShare(3, 3, thrice)).toBe(1);
    expect(lostShare(10, 4, rs63)).toBeCloseTo(126 / 210, 12);
    expect(lostShare(8, 4, rs63)).toBeNull();
  });

  it('several blocks are lost oftener than one', () => {
    expect(lossNow(5, 3, { ...thrice, blocks: 2 })).toBeCloseTo(1 - 0.9 ** 2, 12);
    expect(anyOf([0.1, 0.1])).toBeCloseTo(0.19, 12);
  });
});

describe('a year', () => {
  it('by hand: one copy dies with its disk; three copies need two more deaths within the repair', () => {
    const inputs = { disks: 12, annualFailureRate: 0.02, repairHours: 8.766, blockBytes: 1 };
    expect(lossPerYear(inputs, once)).toBeCloseTo(0.02, 12);
    const rate = -Math.log(0.98);
    expect(lossPerYear(inputs, thrice)).toBeCloseTo(6 * rate ** 3 * 0.001 ** 2, 15);
    const many = { ...thrice, blocks: 1e9 };
    expect((lossPerYear(inputs, many) ?? 0) / (220 * 6 * rate ** 3 * 0.001 ** 2)).toBeCloseTo(1, 6);
    expect(lossPerYear({ ...inputs, disks: 2 }, thrice)).toBeNull();
  });

  it('agrees with a simulation where losses are frequent enough to be counted', () => {
    const inputs = { disks: 6, annualFailureRate: 0.4, repairHours: 100, blockBytes: 1 };
    const years = 40_000,
      lost = simulate(
        inputs.disks,
        -Math.log(1 - inputs.annualFailureRate),
        inputs.repairHours / 8766,
        2,
        years,
      );
    const formula = lossPerYear(inputs, { blocks: 1e9, cells: 2, fatal: 2 }) ?? 0;
    expect(Math.abs(lost / years - formula) / formula).toBeLessThan(0.1);
  });

  it('more copies are safer, and RS-6-3 stands beside them', () => {
    const whole = (cells: number, fatal: number, dataCells: number): number =>
      durabilityOf(DEFAULT_INPUTS, schemeWhole(2 ** 32, { cells, fatal, dataCells })).guestLostPerYear ?? NaN;
    expect(whole(1, 1, 1)).toBeGreaterThan(1000 * whole(2, 2, 1));
    expect(whole(2, 2, 1)).toBeGreaterThan(100 * whole(3, 3, 1));
    expect(whole(3, 3, 1)).toBeGreaterThan(whole(9, 4, 6));
  });
});

describe('a policy with coded critical data', () => {
  it('loses the guest with more disks than its parity replaces, and the cache with its copies', () => {
    const amount = { rawBytes: 0, estimatedCompressedBytes: 0 };
    const classes = {
      ...(Object.fromEntries(PAGE_CLASSES.map((name) => [name, amount])) as Record<PageClass, typeof amount>),
      anon: { rawBytes: 3000, estimatedCompressedBytes: 1000 },
      'clean-cache': { rawBytes: 50, estimatedCompressedBytes: 10 },
    };
    const scheme = schemeUnder(
      customPolicy({ base: 'lean', classes: {}, force: false, critical: 'rs-3-2' }),
      { classes, skeleton: { rawBytes: 7, estimatedCompressedBytes: 7 } },
    );
    const coded = { cells: 5, fatal: 3, dataCells: 3 };
    expect(scheme).toEqual({
      pieces: [
        { bytes: 3000, ...coded },
        { bytes: 7, ...coded },
      ],
      cache: { bytes: 50, cells: 1 },
    });
    expect(
      durabilityOf({ ...DEFAULT_INPUTS, disks: 5 }, scheme).whenDead.map(({ guestLost }) =>
        Math.abs(guestLost ?? NaN),
      ),
    ).toEqual([0, 0, 1]);
  });
});

/**
 * Years in which `fatal` disks were down at once: disks die by themselves and are whole again after the
 * repair.
 */
function simulate(disks: number, rate: number, repairYears: number, fatal: number, years: number): number {
  let state = 88_172_645_463_325n,
    lost = 0;
  const random = (): number => {
    state ^= (state << 13n) & 0xffffffffffffffffn;
    state ^= state >> 7n;
    state ^= (state << 17n) & 0xffffffffffffffffn;
    return (Number(state >> 11n) + 0.5) / 2 ** 53;
  };
  for (let year = 0; year < years; year++) {
    const deaths: number[] = [];
    for (let disk = 0; disk < disks; disk++)
      for (let at = -Math.log(random()) / rate; at < 1; at += repairYears - Math.log(random()) / rate)
        deaths.push(at);
    deaths.sort((a, b) => a - b);
    if (
      deaths.some((at, i) => i + fatal - 1 < deaths.length && (deaths[i + fatal - 1] ?? 2) < at + repairYears)
    )
      lost++;
  }
  return lost;
}
