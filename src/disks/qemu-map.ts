// SPDX-License-Identifier: Apache-2.0
/**
 * In which pieces of which files the bytes of a qcow2 disk lie, as "qemu-img map" says. The formats are those
 * that the domain XML and the images' headers name, never probed.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { awaitedElsewhere } from '../system/best-effort.js';
import { parseJson } from '../system/json-text.js';
import { type Layer, layersOf } from './backing-files.js';
import { isReason, type Reason } from './blockdev.js';
import type { Blockdev } from './qemu-export.js';
import { JAIL_ENV, jailed, oneLine, qemuTool } from './qemu-jail.js';

/** Of a piece in the table: place on the disk, length, place in the file, number of the file. */
const ENTRY_BYTES = 32;
/** pars-reader takes no larger table. A disk in more pieces is not used. */
const MAX_PIECES = (32 << 20) / ENTRY_BYTES;
/** How long the look at one disk may take. */
const MAP_MS = 30_000;
const PAGE_BYTES = 4096;
const MAX_STDERR = 2048;

export interface DiskMap {
  /** Whatever has bytes of the disk, or says where they are. */
  files: string[];
  /** docs/format.md, "The reader's protocol". */
  table: Buffer;
  /** Whether every piece begins and ends at whole pages. */
  isAligned: boolean;
}

/**
 * Of the disk in the qcow2 image at `path`; the reason when there is none. Changes nothing, locks nothing.
 */
export async function mapOfQcow2(path: string, signal?: AbortSignal): Promise<DiskMap | Reason> {
  try {
    const layers = await layersOf(path);
    if (isReason(layers)) return layers;
    const program = qemuTool('qemu-img');
    if (program === null) return { reason: 'qemu-img is not installed' };
    const graph = `json:${JSON.stringify(await graphOf(layers))}`;
    return await mapped(layers, [program, 'map', '--output=json', '-U', graph], signal);
  } catch (error) {
    signal?.throwIfAborted();
    return { reason: (error as Error).message };
  }
}

async function graphOf([layer, ...below]: readonly Layer[]): Promise<Blockdev | null> {
  if (layer === undefined) return null;
  const { format, path, data } = layer;
  const node = { driver: format, 'read-only': true, file: await fileNode(path) };
  if (format === 'raw') return node;
  return {
    ...node,
    ...(data !== null && { 'data-file': await fileNode(data) }),
    backing: await graphOf(below),
  };
}

async function fileNode(path: string): Promise<Blockdev> {
  const driver = (await stat(path)).isBlockDevice() ? 'host_device' : 'file';
  return { driver, filename: path, locking: 'off' };
}

async function mapped(
  layers: readonly Layer[],
  command: readonly string[],
  signal: AbortSignal | undefined,
): Promise<DiskMap | Reason> {
  const timeout = AbortSignal.timeout(MAP_MS);
  const [program = '', ...args] = jailed(command, false);
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: JAIL_ENV,
    cwd: '/',
    killSignal: 'SIGKILL',
    signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
  });
  let said = '';
  child.stderr.on('data', (data: Buffer) => {
    if (said.length < MAX_STDERR) said += data.toString('utf8').slice(0, MAX_STDERR);
  });
  const ending = once(child, 'close') as Promise<[number | null]>;
  awaitedElsewhere(ending);
  const pieces = new Pieces(layers);
  try {
    for await (const line of createInterface({ input: child.stdout })) pieces.add(line);
    const [code] = await ending;
    return code === 0 ? pieces.map() : { reason: `QEMU cannot open it: ${oneLine(said)}` };
  } catch (error) {
    if (timeout.aborted) return { reason: `it could not be read within ${MAP_MS / 1000} s` };
    throw error;
  } finally {
    child.kill('SIGKILL');
  }
}

interface Piece {
  start: number;
  bytes: number;
  offset: number;
  file: number;
}

/** Of the lines that qemu-img writes, each about one piece of the disk. */
class Pieces {
  readonly #layers: readonly Layer[];
  readonly #files: string[];
  readonly #table: bigint[] = [];
  #last: Piece | null = null;
  #isAligned = true;

  constructor(layers: readonly Layer[]) {
    this.#layers = layers;
    const paths = layers.flatMap(({ path, data }) => (data === null ? [path] : [path, data]));
    this.#files = [...new Set(paths)];
  }

  add(line: string): void {
    const text = line.replace(/^\[/, '').replace(/[,\]]$/, '');
    if (text === '') return;
    const piece = this.#pieceOf(parseJson(text));
    if (piece === null) return;
    const last = this.#last;
    const end = last === null ? 0 : last.start + last.bytes;
    if (piece.start < end) throw new Error('qemu-img told of a piece twice');
    const isNext = piece.start === end && piece.offset === (last?.offset ?? 0) + (last?.bytes ?? 0);
    if (last !== null && isNext && piece.file === last.file) last.bytes += piece.bytes;
    else this.#begin(piece);
  }

  map(): DiskMap {
    this.#keepLast();
    const table = Buffer.alloc(this.#table.length * 8);
    for (const [i, word] of this.#table.entries()) table.writeBigUInt64LE(word, i * 8);
    return { files: this.#files, table, isAligned: this.#isAligned };
  }

  /** Null for what lies nowhere as it is: zeros, and what is compressed or encrypted. */
  #pieceOf(told: unknown): Piece | null {
    const { start, length, depth, data, offset, compressed } = (told ?? {}) as Record<string, unknown>;
    if (!isCount(start) || !isCount(length) || !isCount(depth) || typeof data !== 'boolean')
      throw new Error('qemu-img says what it never said before');
    const layer = this.#layers[depth];
    if (!data || compressed === true || offset === undefined || length === 0) return null;
    if (!isCount(offset) || !isCount(offset + length) || !isCount(start + length) || layer === undefined)
      throw new Error('qemu-img told of a piece that lies nowhere');
    return { start, bytes: length, offset, file: this.#files.indexOf(layer.data ?? layer.path) };
  }

  #begin(piece: Piece): void {
    this.#keepLast();
    if (this.#table.length >= MAX_PIECES * (ENTRY_BYTES / 8))
      throw new Error(`it lies in more than ${MAX_PIECES} pieces`);
    this.#last = piece;
  }

  #keepLast(): void {
    if (this.#last === null) return;
    const { start, bytes, offset, file } = this.#last;
    this.#table.push(BigInt(start), BigInt(bytes), BigInt(offset), BigInt(file));
    this.#isAligned &&= [start, bytes, offset].every((value) => value % PAGE_BYTES === 0);
    this.#last = null;
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
