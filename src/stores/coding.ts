// SPDX-License-Identifier: Apache-2.0
/** Erasure codings by their names in HDFS: CODEC-DATA-PARITY-CELL, e.g. RS-3-2-1024k. */
import { ParsError } from '../errors.js';

export interface Coding {
  name: string;
  /** Pieces that are enough to read everything. */
  data: number;
  parity: number;
  /** Bytes of one piece of a stripe. */
  cell: number;
}

const NAME = /^[A-Za-z]+(?:-[A-Za-z]+)*-(\d{1,3})-(\d{1,3})-(\d{1,6})k$/;

export function parseCoding(name: string): Coding {
  const [, data, parity, cell] = (NAME.exec(name) ?? []).map(Number);
  if (!data || !parity || !cell)
    throw new ParsError('usage', `"${name}" is not the name of an erasure coding`, {
      hint: 'e.g. rs-3-2 or RS-6-3-1024k',
    });
  return { name, data, parity, cell: cell << 10 };
}

/** Pieces that a group of so many bytes consists of: a short one has fewer of data, never of parity. */
export function piecesOf({ data, parity, cell }: Coding, bytes: number): { all: number; needed: number } {
  const needed = Math.min(data, Math.ceil(bytes / cell));
  return { all: needed + parity, needed };
}

/** Bytes over all copies, or with parity. */
export function bytesKept({
  bytes,
  copies,
  coding,
}: {
  bytes: number;
  copies: number;
  coding?: string | undefined;
}): number {
  if (coding === undefined) return bytes * copies;
  const { data, parity, cell } = parseCoding(coding);
  const rest = bytes % (data * cell);
  return bytes + ((bytes - rest) / data) * parity + Math.min(cell, rest) * parity;
}
