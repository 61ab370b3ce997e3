// SPDX-License-Identifier: Apache-2.0
/**
 * The memory map in the browser. These functions go into the report as they are (their text), so they know
 * nothing but each other, the page's elements and what is handed to them.
 */

export interface MapData {
  classes: string[];
  texts: string[];
  cellBytes: number;
  segments: { gpa: number; bytes: number; runs: (readonly [pageClass: number, cells: number])[] }[];
}

export interface MapState {
  data: MapData;
  canvas: HTMLCanvasElement;
  /** Class of every cell of memory, and where it begins. */
  cells: Uint8Array;
  starts: Float64Array;
  ends: Float64Array;
  /** What is drawn: squares of `size` CSS pixels, each standing for `merged` cells. */
  columns: number;
  size: number;
  merged: number;
  cursor: number;
  only: number;
}

export function formatSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit++;
  }
  return `${unit === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit] ?? ''}`;
}

/** Spreads the runs out into one class a cell, with its addresses. */
export function spreadCells(data: MapData): Pick<MapState, 'cells' | 'starts' | 'ends'> {
  const classes: number[] = [],
    starts: number[] = [],
    ends: number[] = [];
  for (const { gpa, bytes, runs } of data.segments) {
    let at = gpa;
    for (const [pageClass, length] of runs) {
      for (let i = 0; i < length; i++, at += data.cellBytes) {
        classes.push(pageClass);
        starts.push(at);
        ends.push(Math.min(at + data.cellBytes, gpa + bytes));
      }
    }
  }
  return {
    cells: Uint8Array.from(classes),
    starts: Float64Array.from(starts),
    ends: Float64Array.from(ends),
  };
}

/** How many squares of memory fit: all cells if they do, else several cells to a square. */
export function layOutMap(state: MapState): void {
  const width = Math.max(200, state.canvas.clientWidth),
    height = Math.max(220, Math.min(440, width * 0.5));
  state.size = Math.max(3, Math.floor(Math.sqrt((width * height) / Math.max(1, state.cells.length))));
  state.columns = Math.max(1, Math.floor(width / state.size));
  state.merged = Math.max(
    1,
    Math.ceil(state.cells.length / (state.columns * Math.floor(height / state.size))),
  );
}

export function squareCount(state: MapState): number {
  return Math.ceil(state.cells.length / state.merged);
}

/** The class that most cells of a square have. */
export function squareClass(state: MapState, square: number): number {
  const counts: number[] = [];
  for (let i = square * state.merged; i < Math.min((square + 1) * state.merged, state.cells.length); i++) {
    const pageClass = state.cells[i] ?? 0;
    counts[pageClass] = (counts[pageClass] ?? 0) + 1;
  }
  return counts.reduce(
    (best, count, pageClass) => (count > (counts[best] ?? 0) ? pageClass : best),
    state.cells[square * state.merged] ?? 0,
  );
}

export function drawMap(state: MapState): void {
  layOutMap(state);
  const { canvas, columns, size } = state,
    squares = squareCount(state),
    scale = window.devicePixelRatio || 1;
  const height = Math.ceil(squares / columns) * size;
  canvas.style.height = `${height}px`;
  canvas.width = columns * size * scale;
  canvas.height = height * scale;
  const context = canvas.getContext('2d'),
    style = getComputedStyle(document.documentElement);
  if (!context) return;
  const colours = state.data.classes.map((name) => style.getPropertyValue(`--c-${name}`));
  context.scale(scale, scale);
  const gap = size > 5 ? 1 : 0;
  for (let square = 0; square < squares; square++) {
    const pageClass = squareClass(state, square);
    context.globalAlpha = state.only >= 0 && pageClass !== state.only ? 0.12 : 1;
    context.fillStyle = colours[pageClass] ?? '';
    context.fillRect((square % columns) * size, Math.floor(square / columns) * size, size - gap, size - gap);
  }
  context.globalAlpha = 1;
  if (state.cursor >= 0) {
    context.lineWidth = 2;
    context.strokeStyle = style.getPropertyValue('--ink');
    context.strokeRect(
      (state.cursor % columns) * size - 1,
      Math.floor(state.cursor / columns) * size - 1,
      size + 2,
      size + 2,
    );
  }
}

/** "0x1000 - 0x2fff (8.0 KiB): clean-cache, ..." */
export function describeSquare(state: MapState, square: number): string {
  const first = square * state.merged,
    last = Math.min(first + state.merged, state.cells.length) - 1;
  const start = state.starts[first] ?? 0,
    end = state.ends[last] ?? 0,
    pageClass = squareClass(state, square);
  const here = state.cells.subarray(first, last + 1).filter((one) => one === pageClass).length;
  const mostly = here === last - first + 1 ? '' : 'mostly ';
  return (
    `0x${start.toString(16)} \u2013 0x${(end - 1).toString(16)} (${formatSize(end - start)}): `
    + `${mostly}${state.data.classes[pageClass] ?? ''}, ${state.data.texts[pageClass] ?? ''}`
  );
}

export function squareAt(state: MapState, event: { clientX: number; clientY: number }): number {
  const box = state.canvas.getBoundingClientRect(),
    ratio = (state.columns * state.size) / box.width;
  const column = Math.floor(((event.clientX - box.left) * ratio) / state.size),
    row = Math.floor((event.clientY - box.top) / state.size);
  const square = row * state.columns + column;
  return column >= 0 && column < state.columns && row >= 0 && square < squareCount(state) ? square : -1;
}

export function showTip(state: MapState, event: { clientX: number; clientY: number }): void {
  const tip = document.getElementById('tip'),
    square = squareAt(state, event);
  if (!tip) return;
  tip.hidden = square < 0;
  if (square < 0) return;
  tip.textContent = describeSquare(state, square);
  const frame = state.canvas.getBoundingClientRect(),
    x = event.clientX - frame.left,
    y = event.clientY - frame.top;
  tip.style.left = `${Math.max(0, Math.min(x + 14, frame.width - tip.offsetWidth))}px`;
  tip.style.top = `${y + tip.offsetHeight + 24 > frame.height ? y - tip.offsetHeight - 12 : y + 18}px`;
}

/** Arrows, Home, End, Page Up and Down move a cursor; what lies under it is said. */
export function moveCursor(state: MapState, key: string): boolean {
  const steps: Record<string, number> = {
    ArrowRight: 1,
    ArrowLeft: -1,
    ArrowDown: state.columns,
    ArrowUp: -state.columns,
    PageDown: 8 * state.columns,
    PageUp: -8 * state.columns,
    Home: -Infinity,
    End: Infinity,
  };
  const step = steps[key];
  if (step === undefined) return false;
  state.cursor = Math.max(0, Math.min(squareCount(state) - 1, state.cursor < 0 ? 0 : state.cursor + step));
  const where = document.getElementById('where');
  if (where) where.textContent = describeSquare(state, state.cursor);
  drawMap(state);
  return true;
}

export function startMap(data: MapData): void {
  const canvas = document.getElementById('map') as HTMLCanvasElement | null;
  if (!canvas) return;
  const state: MapState = {
    data,
    canvas,
    ...spreadCells(data),
    columns: 1,
    size: 4,
    merged: 1,
    cursor: -1,
    only: -1,
  };
  canvas.addEventListener('pointermove', (event) => showTip(state, event));
  canvas.addEventListener('pointerleave', () => document.getElementById('tip')?.setAttribute('hidden', ''));
  canvas.addEventListener('keydown', (event) => moveCursor(state, event.key) && event.preventDefault());
  for (const button of document.querySelectorAll<HTMLButtonElement>('.legend button')) {
    button.addEventListener('click', () => {
      const pageClass = data.classes.indexOf(button.dataset['class'] ?? '');
      state.only = state.only === pageClass ? -1 : pageClass;
      for (const other of document.querySelectorAll<HTMLButtonElement>('.legend button'))
        other.setAttribute(
          'aria-pressed',
          String(state.only >= 0 && other.dataset['class'] === data.classes[state.only]),
        );
      drawMap(state);
    });
  }
  window.addEventListener('resize', () => {
    state.cursor = -1;
    drawMap(state);
  });
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => drawMap(state));
  drawMap(state);
}

/** What is put into the page, in any order. */
export const MAP_FUNCTIONS: readonly ((...args: never[]) => unknown)[] = [
  formatSize,
  spreadCells,
  layOutMap,
  squareCount,
  squareClass,
  drawMap,
  describeSquare,
  squareAt,
  showTip,
  moveCursor,
  startMap,
];
