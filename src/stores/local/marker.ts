// SPDX-License-Identifier: Apache-2.0
/**
 * The marker of a store's directory: what tells it from the empty mount point of a disk that is not there
 * (R22).
 */
import { join } from 'node:path';
import { isMissing } from '../../system/absence.js';
import { bestEffort } from '../../system/best-effort.js';
import { parseJson } from '../../system/json-text.js';
import { temporaryName } from '../../system/temporary-name.js';
import { ParsError } from '../../errors.js';
import { DIRECTORY_MODE, FILE_MODE, type Files, syncDirectory } from './files.js';
import { MARKER_FILE, MARKER_FORMAT } from '../marker.js';

export interface Marker {
  format: typeof MARKER_FORMAT;
  /** Random, hex, 32 digits; the same in all directories of a store. */
  storeId: string;
  /** Which of the store's directories this is; different in each. */
  index: number;
  /** The directories as they were named at init. */
  directories: string[];
  allowSameDevice: boolean;
  created: string;
}

/**
 * The marker of `directory`; null when there is none. Throws when there is one that says nothing we
 * understand.
 */
export async function readMarker(files: Files, directory: string): Promise<Marker | null> {
  let text: string;
  try {
    text = await files.readFile(join(directory, MARKER_FILE), 'utf8');
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
  return parseMarker(text, directory);
}

/** Writes the marker durably. The directory becomes ours alone: snapshots hold the guest's secrets (R24). */
export async function writeMarker(files: Files, directory: string, marker: Marker): Promise<void> {
  await files.chmod(directory, DIRECTORY_MODE);
  const temporary = join(directory, temporaryName(MARKER_FILE));
  try {
    // Exclusive: nothing that lies there under this name, a link above all, is written through.
    const handle = await files.open(temporary, 'wx', FILE_MODE);
    try {
      await handle.writeFile(`${JSON.stringify(marker, null, 2)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await files.rename(temporary, join(directory, MARKER_FILE));
  } catch (error) {
    await bestEffort(files.unlink(temporary));
    throw error;
  }
  await syncDirectory(files, directory);
}

function parseMarker(text: string, directory: string): Marker {
  const value = (parseJson(text) ?? null) as Record<string, unknown> | null;
  const format = value?.['format'];
  if (typeof format === 'number' && format > MARKER_FORMAT) {
    throw new ParsError(
      'unreachable',
      `its marker has format ${format}; this version of pars knows ${MARKER_FORMAT}`,
      { hint: 'update pars' },
    );
  }
  if (!isMarker(value))
    throw new ParsError('corrupt', `its marker ${join(directory, MARKER_FILE)} is damaged`);
  return value;
}

function isMarker(value: Record<string, unknown> | Marker | null): value is Marker {
  if (value === null) return false;
  const { format, storeId, index, directories, allowSameDevice } = value;
  return (
    format === MARKER_FORMAT
    && typeof storeId === 'string'
    && /^[0-9a-f]{32}$/.test(storeId)
    && Number.isInteger(index)
    && Array.isArray(directories)
    && typeof allowSameDevice === 'boolean'
  );
}
