// SPDX-License-Identifier: Apache-2.0
/** Will it fit: sums against room; and what QEMU's monitor says of memory and registers. */
import pc from 'picocolors';
import { describe, expect, it } from 'vitest';
import { renderPlan } from '../../src/ui/plan.js';
import { makePlan, type PlannedGuest } from '../../src/report/plan.js';
import { findRam, parseRamBlocks, parseRegisters } from '../../src/report/running-domain.js';

const MIB = 2 ** 20;

function guest(name: string, peakMiB: number, problem: string | null = null): PlannedGuest {
  const policies = {
    lean: {
      storedBytes: 2 * peakMiB * MIB,
      estimatedCompressedBytes: problem === null ? peakMiB * MIB : null,
    },
    minimal: { storedBytes: peakMiB * MIB, estimatedCompressedBytes: null },
  };
  return {
    name,
    uuid: 'u',
    ramBytes: 2 * peakMiB * MIB,
    peakBytes: peakMiB * MIB,
    localBytes: 4 * MIB,
    policies,
    problem,
  };
}

const plan = (here: number, store: number | null): ReturnType<typeof makePlan> =>
  makePlan(
    [guest('web', 100), guest('db\u001b[2J', 300)],
    'lean',
    { where: '/save', freeBytes: here * MIB },
    store === null ? null : { where: 'local:/d', freeBytes: store * MIB },
  );

describe('the plan', () => {
  it.each([
    [400, 800, { save: true, saveOneByOne: true, store: true }],
    [399, 800, { save: false, saveOneByOne: true, store: true }],
    [307, 800, { save: false, saveOneByOne: false, store: true }],
    [400, 799, { save: true, saveOneByOne: true, store: false }],
    [400, null, { save: true, saveOneByOne: true, store: null }],
  ])('%i MiB here, %j MiB in the store', (here, store, fits) => {
    expect(plan(here, store).fits).toEqual(fits);
  });

  it('sums, and does not pretend to know what nobody estimated', () => {
    const { total } = plan(400, 800);
    expect(total).toMatchObject({ peakBytes: 400 * MIB, largestPeakBytes: 300 * MIB, localBytes: 8 * MIB });
    expect(total.policies).toEqual({
      lean: { storedBytes: 800 * MIB, estimatedCompressedBytes: 400 * MIB },
      minimal: { storedBytes: 400 * MIB, estimatedCompressedBytes: null },
    });
  });

  it('says what does not fit, with the figures, and the way out', () => {
    const text = renderPlan(plan(350, 500), pc.createColors(false));
    expect(text).toContain('does not fit: 400.0 MiB of saves into 350.0 MiB free in /save');
    expect(text).toContain('One after the other they do');
    expect(text).toContain('does not fit: 800.0 MiB under lean into 500.0 MiB free in local:/d');
    expect(text).toContain('It would if it compresses as estimated (to 400.0 MiB)');
    expect(text).not.toContain('\u001b');
  });

  it('does not judge a store that does not say what room it has', () => {
    const unknown = makePlan(
      [guest('web', 100)],
      'lean',
      { where: '/save', freeBytes: 400 * MIB },
      { where: 'webhdfs://gate:14000/pars', freeBytes: null },
    );
    expect(unknown.fits).toEqual({ save: true, saveOneByOne: true, store: null });
    expect(renderPlan(unknown, pc.createColors(false))).toContain(
      'unknown: 200.0 MiB under lean into webhdfs://gate:14000/pars, which does not say',
    );
  });

  it('names a guest that could not be read', () => {
    const text = renderPlan(
      makePlan([guest('db', 10, 'QEMU does not say')], 'lean', { where: '/save', freeBytes: 1 }, null),
      pc.createColors(false),
    );
    expect(text).toMatch(/^db \(not read\)/m);
    expect(text).toContain('planned for at its worst: QEMU does not say');
  });

  it('a host without running guests fits', () => {
    expect(makePlan([], 'lean', { where: '/save', freeBytes: 0 }, null).fits).toEqual({
      save: true,
      saveOneByOne: true,
      store: null,
    });
  });
});

describe('what QEMU says', () => {
  it('of its RAM blocks', () => {
    const text = [
      '              Block Name    PSize              Offset               Used              Total      '
        + '          HVA  RO',
      '                  pc.ram    4 KiB  0x0000000000000000 0x0000000020000000 0x0000000020000000 '
        + '0x00007f3c5be00000  rw',
      '      /objects/ram-node1    2 MiB  0x0000000020080000 0x0000000000800000 0x0000000000800000 '
        + '0x00007f3c5b400000  rw',
    ].join('\r\n');
    expect(parseRamBlocks(text)).toEqual([
      { name: 'pc.ram', bytes: '0000000020000000', address: '00007f3c5be00000' },
      { name: 'ram-node1', bytes: '0000000000800000', address: '00007f3c5b400000' },
    ]);
  });

  it('of its RAM when it tells no addresses (QEMU 7.2)', () => {
    const text =
      'Block Name    PSize  Offset  Used  Total\r\n   pc.ram    4 KiB  0x0000000000000000 '
      + '0x0000000020000000 0x0000000020000000\r\n';
    expect(parseRamBlocks(text)).toEqual([]);
    expect(findRam(text, 'Host virtual address for 0x100000 (pc.ram) is 0x7f3c5bf00000\r\n')).toEqual({
      name: 'pc.ram',
      bytes: '0000000020000000',
      address: '7f3c5be00000',
    });
    expect(() => findRam(text, 'No memory is mapped at address 0x100000')).toThrow(/does not say/);
  });

  it('of its vCPUs', () => {
    const cpu = (n: number): string =>
      `CPU#${n}\r\nRAX=0000000000000000 RBX=0000000000000000\r\nCR0=80050033 CR2=00007f0000000000 `
      + `CR3=000000000${n}c0a000 CR4=000006f0\r\nDR0=0000000000000000\r\n`;
    expect(parseRegisters(cpu(1) + cpu(2))).toEqual([
      { cr0: '80050033', cr3: '0000000001c0a000', cr4: '000006f0' },
      { cr0: '80050033', cr3: '0000000002c0a000', cr4: '000006f0' },
    ]);
  });
});
