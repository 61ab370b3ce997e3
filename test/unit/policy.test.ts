// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { PAGE_CLASSES, type PageClass } from '../../src/page-classes.js';
import { customPolicy, policyByName, presetPolicy, PRESETS, storedClasses } from '../../src/policy/policy.js';
import { bytesKept } from '../../src/stores/coding.js';
import { type Amount, type Amounts, compareCost, costOf } from '../../src/report/policy-cost.js';

function amounts(perClass: Partial<Record<PageClass, Amount>>, skeleton: Amount): Amounts {
  const none: Amount = { rawBytes: 0, estimatedCompressedBytes: 0 };
  return {
    classes: Object.fromEntries(
      PAGE_CLASSES.map((name) => [name, perClass[name] ?? none]),
    ) as Amounts['classes'],
    skeleton,
  };
}

describe('presets', () => {
  it.each([
    ['replicate-all', 3, 3, 3],
    ['pars', 3, 1, 1],
    ['lean', 3, 0, 1],
    ['minimal', 3, 0, 0],
  ])('%s: critical %i, free %i, clean-cache %i', (name, critical, free, cleanCache) => {
    const { copies, criticalCopies } = policyByName(name);
    expect(criticalCopies).toBe(critical);
    for (const pageClass of PAGE_CLASSES) {
      expect(copies[pageClass]).toBe(
        pageClass === 'free' ? free : pageClass === 'clean-cache' ? cleanCache : critical,
      );
    }
  });

  it('are known by name, and others are a usage error that lists them', () => {
    expect(PRESETS.map((name) => policyByName(name).name)).toEqual([...PRESETS]);
    expect(() => policyByName('constructor')).toThrow(
      expect.objectContaining({ kind: 'usage', hint: expect.stringContaining('minimal') }) as Error,
    );
  });

  it('say which classes are stored', () => {
    expect(storedClasses(presetPolicy('pars'))).toEqual([...PAGE_CLASSES]);
    expect(storedClasses(presetPolicy('minimal'))).toEqual(
      PAGE_CLASSES.filter((name) => name !== 'free' && name !== 'clean-cache'),
    );
  });
});

describe('a policy that codes critical data', () => {
  const coded = (critical: string, classes = {}) =>
    customPolicy({ base: 'lean', classes, force: false, critical });

  it.each([
    ['rs-3-2', 'RS-3-2-1024k'],
    ['RS-6-3-1024k', 'RS-6-3-1024k'],
    ['xor-2-1', 'XOR-2-1-1024k'],
    ['rs-legacy-6-3-64K', 'RS-LEGACY-6-3-64k'],
  ])('calls %s %s, as HDFS does', (written, name) => {
    const policy = coded(written);
    expect(policy.coding).toBe(name);
    expect(policy.criticalCopies, 'manifest and index keep copies').toBe(3);
    expect(policy.copies['clean-cache']).toBe(1);
  });

  it('refuses copies of a critical class beside the coding', () => {
    expect(() => coded('rs-3-2', { anon: 4 })).toThrow(
      expect.objectContaining({ kind: 'usage', message: expect.stringContaining('anon') }) as Error,
    );
    expect(coded('rs-3-2', { 'clean-cache': 2 }).copies['clean-cache']).toBe(2);
  });

  it('counts what a coding keeps', () => {
    const MIB = 1 << 20;
    expect(bytesKept({ bytes: 6 * MIB, copies: 1, coding: 'RS-3-2-1024k' })).toBe(10 * MIB);
    expect(bytesKept({ bytes: 1000, copies: 1, coding: 'RS-3-2-1024k' })).toBe(3000);
    expect(bytesKept({ bytes: 5 * MIB, copies: 1, coding: 'RS-3-2-1024k' })).toBe(9 * MIB);
    expect(bytesKept({ bytes: 1000, copies: 3 })).toBe(3000);
  });
});

describe("a policy of one's own", () => {
  it('changes what it names, and keeps the base for the rest', () => {
    const policy = customPolicy({ base: 'lean', classes: { 'clean-cache': 2, anon: 4 }, force: false });
    expect(policy.name).toBe('custom');
    expect(policy.copies).toEqual({ ...presetPolicy('lean').copies, 'clean-cache': 2, anon: 4 });
  });

  it('stores manifest and skeleton as often as the best kept critical class', () => {
    expect(customPolicy({ base: 'lean', classes: { anon: 5, free: 9 }, force: false }).criticalCopies).toBe(
      5,
    );
  });

  it.each(['kernel', 'other-cache', 'device'] as const)(
    'is refused with fewer than 2 copies of %s, unless forced',
    (name) => {
      expect(() => customPolicy({ base: 'pars', classes: { [name]: 1 }, force: false })).toThrow(
        expect.objectContaining({ kind: 'refused' }) as Error,
      );
      expect(customPolicy({ base: 'pars', classes: { [name]: 1 }, force: true }).copies[name]).toBe(1);
    },
  );
});

describe('what a policy stores', () => {
  const image = amounts(
    {
      kernel: { rawBytes: 1000, estimatedCompressedBytes: 400 },
      free: { rawBytes: 500, estimatedCompressedBytes: 100 },
      'clean-cache': { rawBytes: 2000, estimatedCompressedBytes: 900 },
    },
    { rawBytes: 10, estimatedCompressedBytes: 10 },
  );

  it.each([
    ['replicate-all', 3 * 3510, 3 * 1410],
    ['pars', 3 * 1010 + 2500, 3 * 410 + 1000],
    ['lean', 3 * 1010 + 2000, 3 * 410 + 900],
    ['minimal', 3 * 1010, 3 * 410],
  ])('%s: %i bytes over all copies, %i compressed', (name, rawBytes, estimatedCompressedBytes) => {
    expect(costOf(policyByName(name), image)).toEqual({ rawBytes, estimatedCompressedBytes });
  });

  it('of coded critical data is the data once and its parity', () => {
    const coded = customPolicy({ base: 'minimal', classes: {}, force: false, critical: 'rs-3-2' });
    expect(costOf(coded, image)).toEqual({
      rawBytes: Math.ceil((1000 * 5) / 3) + Math.ceil((10 * 5) / 3),
      estimatedCompressedBytes: Math.ceil((400 * 5) / 3) + Math.ceil((10 * 5) / 3),
    });
  });

  it('is compared with three plain copies of everything', () => {
    const all = presetPolicy('replicate-all');
    expect(compareCost(all, all, image).savedVsReplicateAll).toBe(0);
    expect(compareCost(presetPolicy('minimal'), all, image).savedVsReplicateAll).toBeCloseTo(
      1 - 3030 / 10530,
      10,
    );
    expect(
      compareCost(presetPolicy('minimal'), all, amounts({}, { rawBytes: 0, estimatedCompressedBytes: 0 }))
        .savedVsReplicateAll,
    ).toBe(0);
  });

  it('has no estimate when a class that it stores was not sampled', () => {
    const unsampled = amounts(
      { 'clean-cache': { rawBytes: 2000, estimatedCompressedBytes: null } },
      { rawBytes: 10, estimatedCompressedBytes: 10 },
    );
    expect(costOf(presetPolicy('lean'), unsampled).estimatedCompressedBytes).toBeNull();
    expect(costOf(presetPolicy('minimal'), unsampled).estimatedCompressedBytes).toBe(30);
    expect(
      compareCost(presetPolicy('lean'), presetPolicy('replicate-all'), unsampled)
        .estimatedSavedVsReplicateAll,
    ).toBeNull();
  });
});
