// SPDX-License-Identifier: Apache-2.0
/** Tables without lines: aligned columns, two spaces apart, headings dimmed. */
import Table from 'cli-table3';
import type { Colours } from './colours.js';

export interface Column {
  heading: string;
  align?: 'left' | 'right';
}

const NO_LINES = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
} as const;

/** The rows under their headings; cells are text that is ready to be shown. */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  colours: Colours,
): string {
  const table = new Table({
    chars: NO_LINES,
    style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 0 },
    colAligns: columns.map(({ align }) => align ?? 'left'),
    head: columns.map(({ heading }) => colours.dim(heading)),
  });
  for (const row of rows) table.push([...row]);
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

/** "key   value" lines, keys dimmed and aligned. */
export function renderPairs(
  pairs: readonly (readonly [key: string, value: string])[],
  colours: Colours,
): string {
  const width = Math.max(...pairs.map(([key]) => key.length));
  return pairs.map(([key, value]) => `${colours.dim(key.padEnd(width))}  ${value}`.trimEnd()).join('\n');
}
