// SPDX-License-Identifier: Apache-2.0
/**
 * The memory map in a terminal: a letter a cell, as many as fit; colours only where the terminal has them.
 */
import { PAGE_BYTES, PAGE_CLASSES, type PageClass } from '../page-classes.js';
import type { MemoryMap } from '../reader/page-map.js';
import type { Colours } from './colours.js';
import { formatBytes } from './units.js';

const MAX_ROWS = 14,
  MIN_COLUMNS = 16,
  MAX_COLUMNS = 128;

const LETTERS: Record<PageClass, string> = {
  kernel: 'k',
  free: '.',
  'clean-cache': 'c',
  'mapped-cache': 'm',
  'dirty-cache': 'd',
  'other-cache': 'o',
  anon: 'a',
  shmem: 's',
  slab: 'b',
  'page-table': 't',
  offline: '-',
  device: 'v',
};

/** `width`: of the terminal. Empty when there is nothing to draw. */
export function renderMap(map: MemoryMap, width: number, colours: Colours): string {
  const cells = map.segments.flatMap(({ gpa, bytes, runs }) =>
    spread(gpa, bytes, runs, map.cellPages * PAGE_BYTES),
  );
  if (cells.length === 0) return '';
  const label = `0x${(cells.at(-1)?.start ?? 0).toString(16)}`.length + 2;
  const columns = Math.max(MIN_COLUMNS, Math.min(MAX_COLUMNS, width - label));
  const merged = Math.max(1, Math.ceil(cells.length / (columns * MAX_ROWS)));
  const squares = Array.from({ length: Math.ceil(cells.length / merged) }, (_, i) =>
    cells.slice(i * merged, (i + 1) * merged),
  );
  const paint = painter(colours),
    lines: string[] = [];
  for (let i = 0; i < squares.length; i += columns) {
    const start = `0x${(squares[i]?.[0]?.start ?? 0).toString(16)}`.padStart(label - 2);
    lines.push(
      `${colours.dim(start)}  ${squares
        .slice(i, i + columns)
        .map((square) => paint(commonest(square)))
        .join('')}`,
    );
  }
  return [
    colours.dim(`GUEST MEMORY, ${formatBytes(merged * map.cellPages * PAGE_BYTES)} A LETTER`),
    ...lines,
    legend(squares.map(commonest), paint, width),
  ].join('\n');
}

interface Cell {
  start: number;
  pageClass: PageClass;
}

function spread(
  gpa: number,
  bytes: number,
  runs: MemoryMap['segments'][number]['runs'],
  cellBytes: number,
): Cell[] {
  let start = gpa;
  return runs.flatMap(([pageClass, length]) =>
    Array.from({ length }, () => {
      const cell = { start, pageClass };
      start = Math.min(start + cellBytes, gpa + bytes);
      return cell;
    }),
  );
}

function commonest(cells: readonly Cell[]): PageClass {
  const counts = new Map<PageClass, number>();
  for (const { pageClass } of cells) counts.set(pageClass, (counts.get(pageClass) ?? 0) + 1);
  return [...counts].reduce((best, one) => (one[1] > best[1] ? one : best), ['kernel', 0] as [
    PageClass,
    number,
  ])[0];
}

function painter(colours: Colours): (name: PageClass) => string {
  const paints: Partial<Record<PageClass, (text: string) => string>> = {
    free: colours.dim,
    'clean-cache': colours.green,
    'mapped-cache': colours.blue,
    'other-cache': colours.cyan,
    'dirty-cache': colours.yellow,
    anon: colours.magenta,
    shmem: colours.magenta,
    'page-table': colours.red,
    slab: colours.yellow,
  };
  return (name) => (paints[name] ?? ((text: string) => text))(LETTERS[name]);
}

/** Only what is in the map, in lines that fit. */
function legend(shown: readonly PageClass[], paint: (name: PageClass) => string, width: number): string {
  const lines: { text: string; length: number }[] = [];
  for (const name of PAGE_CLASSES.filter((one) => shown.includes(one))) {
    const last = lines.at(-1),
      length = name.length + 2;
    if (last && last.length + length + 2 <= width)
      Object.assign(last, { text: `${last.text}  ${paint(name)} ${name}`, length: last.length + length + 2 });
    else lines.push({ text: `${paint(name)} ${name}`, length });
  }
  return lines.map(({ text }) => text).join('\n');
}

/** Of the terminal; COLUMNS where there is none. */
export function terminalWidth(stream: { columns?: number | undefined }): number {
  const asked = Number(process.env['COLUMNS']);
  return stream.columns ?? (Number.isInteger(asked) && asked > 0 ? asked : 80);
}
