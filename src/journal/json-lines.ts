// SPDX-License-Identifier: Apache-2.0
/** A file of one JSON value a line, of which the last hundred or so are kept. */
import { appendFile, readFile, stat } from 'node:fs/promises';
import { parseJson } from '../system/json-text.js';
import { ifThere, readIfThere } from '../system/absence.js';
import { writeAtomically } from '../system/atomic-file.js';

const KEPT = 100;
const LONGEST_FILE = 256 << 10;

export async function appendLine(path: string, value: unknown): Promise<void> {
  const text = await tooLong(path);
  if (text === null) await appendFile(path, `${JSON.stringify(value)}\n`, { mode: 0o600 });
  else
    await writeAtomically(path, [...text.split('\n').slice(-KEPT / 2), JSON.stringify(value), ''].join('\n'));
}

/** The latest first; none when there is no file. A line that a kill cut short does not count. */
export async function readLines<T>(path: string): Promise<T[]> {
  const text = (await readIfThere(path)) ?? '';
  return text
    .split('\n')
    .map((line) => parseJson(line) as T | undefined)
    .filter((value) => value !== undefined)
    .slice(-KEPT)
    .reverse();
}

async function tooLong(path: string): Promise<string | null> {
  const { size } = await ifThere(path, stat, { size: 0 });
  return size < LONGEST_FILE ? null : readFile(path, 'utf8');
}
