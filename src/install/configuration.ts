// SPDX-License-Identifier: Apache-2.0
/** The configuration file as `pars init` writes it: with comments, and never over what somebody wrote. */
import { readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { stringify } from 'yaml';
import { ParsError } from '../errors.js';
import { parseConfigFile } from '../policy/config-file.js';
import { printableUrl } from '../stores/printable-url.js';
import { readIfThere, statIfThere } from '../system/absence.js';
import { writeAtomically } from '../system/atomic-file.js';
import { PACKAGE_ROOT } from '../version.js';

/** What the file is to say. */
export interface Wanted {
  store: string;
  /** Undefined: what the file says, or else the default. */
  policy?: string | undefined;
}

/** All keys, commented out, with what they mean. */
const TEMPLATE = join(PACKAGE_ROOT, 'contrib/debian/pars.yaml');
const FILE_MODE = 0o644;

/**
 * The text that the file is to get; null when it says all of it already. Throws 'refused' when it says
 * something else.
 */
export async function configurationText(file: string, wanted: Wanted): Promise<string | null> {
  const old = await readIfThere(file);
  const said = old === null ? {} : parseConfigFile(old, file).values;
  const added: { store?: string; policy?: string } = {};
  for (const key of ['store', 'policy'] as const) {
    const value = wanted[key];
    if (value === undefined || said[key] === value) continue;
    if (said[key] !== undefined) throw saysOther(file, key, said[key]);
    added[key] = value;
  }
  const lines = Object.entries(added).map(([key, value]): [key: string, line: string] => [
    key,
    stringify({ [key]: value }, { lineWidth: 0 }).trim(),
  ]);
  if (lines.length === 0) return null;
  const text = lines.reduce(withLine, old ?? (await readFile(TEMPLATE, 'utf8')));
  if (!says(text, file, { ...said, ...added }))
    throw new ParsError('refused', `${file} is laid out in a way that takes no further line`, {
      hint: `write into it by hand: ${lines.map(([, line]) => line).join(', ')}`,
    });
  return text;
}

/** Writes the configuration; false when the file says all of it already. */
export async function writeConfiguration(file: string, wanted: Wanted): Promise<boolean> {
  const text = await configurationText(file, wanted);
  if (text === null) return false;
  const there = await statIfThere(file);
  await writeAtomically(
    there === null ? file : await realpath(file),
    text,
    (there?.mode ?? FILE_MODE) & 0o777,
  );
  return true;
}

/** In place of the line that is commented out, or at the end. */
function withLine(text: string, [key, line]: [key: string, line: string]): string {
  const commented = new RegExp(`^# ?${key}: .*$`, 'm');
  if (commented.test(text)) return text.replace(commented, () => line);
  return `${text === '' || text.endsWith('\n') ? text : `${text}\n`}${line}\n`;
}

function says(text: string, file: string, expected: object): boolean {
  try {
    return isDeepStrictEqual({ ...parseConfigFile(text, file).values }, expected);
  } catch (error) {
    if (error instanceof ParsError) return false;
    throw error;
  }
}

function saysOther(file: string, key: 'store' | 'policy', value: unknown): ParsError {
  const what = typeof value !== 'string' ? 'one of its own' : key === 'store' ? printableUrl(value) : value;
  return new ParsError('refused', `${file} names another ${key}: ${what}`, {
    hint: `change it there if it is to be another one; to go on with this one leave --${key} out`,
  });
}
