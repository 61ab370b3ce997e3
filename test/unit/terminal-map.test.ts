// SPDX-License-Identifier: Apache-2.0
/** The map in a terminal, and the range that `pars explain` takes. */
import pc from 'picocolors';
import { afterEach, describe, expect, it } from 'vitest';
import { pageRange } from '../../src/commands/explain.js';
import { renderMap, terminalWidth } from '../../src/ui/terminal-map.js';
import type { MemoryMap } from '../../src/reader/page-map.js';

const MAP: MemoryMap = {
  cellPages: 256,
  segments: [
    {
      gpa: 0,
      bytes: 3 << 30,
      runs: [
        ['kernel', 100],
        ['free', 1000],
        ['clean-cache', 1972],
      ],
    },
    {
      gpa: 4 * 2 ** 30,
      bytes: 1 << 30,
      runs: [
        ['anon', 1023],
        ['page-table', 1],
      ],
    },
  ],
};

describe('the map in a terminal', () => {
  it.each([20, 40, 80, 132, 300])('fits into %i columns, whatever they are', (width) => {
    const lines = renderMap(MAP, width, pc.createColors(false)).split('\n');
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(Math.max(width, 32));
    expect(lines.filter((line) => /^ *0x/.test(line)).length).toBeLessThanOrEqual(14);
    expect(lines.join('')).not.toContain('\u001b');
  });

  it('shows memory in its order, with addresses, and a letter for each class', () => {
    const lines = renderMap(MAP, 80, pc.createColors(false)).split('\n');
    expect(lines[1]).toMatch(/^ +0x0 {2}kkk+\.\.\.+/);
    const letters = lines
      .filter((line) => /^ *0x/.test(line))
      .map((line) => line.split('  ').at(-1))
      .join('');
    expect(letters.replace(/(.)\1*/g, '$1')).toBe('k.cat');
    expect(lines.at(-1)).toBe('k kernel  . free  c clean-cache  a anon  t page-table');
  });

  it('has colours only where they are wanted', () => {
    expect(renderMap(MAP, 80, pc.createColors(true))).toContain('\u001b[32mc');
  });

  it('is nothing when the layout is not known', () => {
    expect(renderMap({ cellPages: 1, segments: [] }, 80, pc.createColors(false))).toBe('');
  });
});

describe('the width', () => {
  const before = process.env['COLUMNS'];
  afterEach(() => {
    if (before === undefined) delete process.env['COLUMNS'];
    else process.env['COLUMNS'] = before;
  });
  it("is the terminal's, else COLUMNS, else 80", () => {
    process.env['COLUMNS'] = '50';
    expect(terminalWidth({ columns: 120 })).toBe(120);
    expect(terminalWidth({})).toBe(50);
    process.env['COLUMNS'] = 'wide';
    expect(terminalWidth({})).toBe(80);
  });
});

describe('a page or a range', () => {
  it.each([
    ['0x1000', 1, 1],
    ['4097', 1, 1],
    ['0x0-0x1fff', 0, 2],
    ['0xfff-0x1000', 0, 2],
  ])('%s', (text, first, pages) => {
    expect(pageRange(text)).toEqual({ first, pages });
  });
  it.each(['', 'x', '0x2000-0x1000', '1-2-3', '-1', '0x1000000000000000', '0x0-0x10000000'])(
    '"%s" is refused',
    (text) => {
      expect(() => pageRange(text)).toThrow(/is not a guest-physical|are \d+ pages/);
    },
  );
});
