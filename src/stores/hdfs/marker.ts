// SPDX-License-Identifier: Apache-2.0
/** The marker of a store in HDFS: what tells its directory from another cluster's of the same name (R22). */
import * as z from 'zod';
import { parseJson } from '../../system/json-text.js';
import { ParsError } from '../../errors.js';
import type { HdfsFiles } from './files.js';
import { ObjectReader, SilentNodes } from './object-reader.js';
import { MARKER_FILE, MARKER_FORMAT, newStoreId } from '../marker.js';

const MAX_MARKER_BYTES = 65_536;

const marker = z.object({
  format: z.literal(MARKER_FORMAT),
  storeId: z.string().regex(/^[0-9a-f]{32}$/),
  created: z.string(),
});
export type HdfsMarker = z.infer<typeof marker>;

export function newMarker(): HdfsMarker {
  return { format: MARKER_FORMAT, storeId: newStoreId(), created: new Date().toISOString() };
}

export function encodeMarker(value: HdfsMarker): Buffer {
  return Buffer.from(`${JSON.stringify(value, null, 2)}\n`);
}

/** Null when there is none. Throws when there is one that says nothing we understand. */
export async function readMarker(files: HdfsFiles, silent = new SilentNodes()): Promise<HdfsMarker | null> {
  const path = files.pathOf(MARKER_FILE);
  const status = await files.status(path);
  if (status === null) return null;
  if (status.type !== 'FILE' || status.length > MAX_MARKER_BYTES) throw damaged(path);
  const reader = new ObjectReader(files, path, silent);
  const data = await reader.read(0, status.length).finally(() => reader.close());
  return parseMarker(data, path);
}

function parseMarker(data: Buffer, path: string): HdfsMarker {
  const value = parseJson(data.toString());
  const format = z.object({ format: z.number() }).safeParse(value);
  if (format.success && format.data.format > MARKER_FORMAT) {
    throw new ParsError(
      'unreachable',
      `${path} has format ${format.data.format}; this version of pars knows ${MARKER_FORMAT}`,
      { hint: 'update pars' },
    );
  }
  const result = marker.safeParse(value);
  if (!result.success) throw damaged(path);
  return result.data;
}

function damaged(path: string): ParsError {
  return new ParsError('corrupt', `the marker of the store, ${path}, is damaged`);
}
