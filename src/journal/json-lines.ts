// SPDX-License-Identifier: Apache-2.0
/** A file of one JSON value a line, of which the last hundred or so are kept. */
import { appendFile, open, readFile, stat } from 'node:fs/promises';
import { parseJson } from '../system/json-text.js';
import { ifThere, readIfThere } from '../system/absence.js';
import { writeAtomically } from '../system/atomic-file.js';

const KEPT = 100;
const LONGEST_FILE = 256 << 10;

export async function appendLine(path: string, value: unknown): Promise<void> {
  const text = await tooLong(path);
  // A line that was cut short would swallow the next one.
  const before = (await endsWithin(path)) ? '\n' : '';
  if (text === null) await appendFile(path, `${before}${JSON.stringify(value)}\n`, { mode: 0o600 });
  else
    await writeAtomically(path, [...text.split('\n').slice(-KEPT / 2), JSON.stringify(value), ''].join('\n'));
}

/** The latest first; none when there is no file. A line that a kill cut short does not count. */
export async function readLines<T>(path: string): Promise<T[]> {
  const text = (await readIfThere(path)) ?? '';
  return text
    .split('\n')
    .map((line) => parseJson(line) as T | null | undefined)
    .filter((value) => value !== undefined && value !== null)
    .slice(-KEPT)
    .reverse();
}

/** Whether the last line has no end. */
async function endsWithin(path: string): Promise<boolean> {
  const file = await ifThere(path, (at) => open(at), null);
  if (file === null) return false;
  try {
    const { size } = await file.stat();
    const { buffer, bytesRead } = await file.read(Buffer.alloc(1), 0, 1, Math.max(0, size - 1));
    return bytesRead === 1 && buffer.toString() !== '\n';
  } finally {
    await file.close();
  }
}

async function tooLong(path: string): Promise<string | null> {
  const { size } = await ifThere(path, stat, { size: 0 });
  return size < LONGEST_FILE ? null : readFile(path, 'utf8');
}
