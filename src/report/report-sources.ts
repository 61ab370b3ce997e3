// SPDX-License-Identifier: Apache-2.0
/**
 * What `pars report` is asked about, as a list of images: files as named, the managed saves of a directory,
 * or those of this host.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { statIfThere } from '../system/absence.js';
import { ParsError } from '../errors.js';

export interface ReportSources {
  paths: string[];
  /** The images were found, not named: none of them is "the" report. */
  found: boolean;
}

/**
 * Images in the order of the arguments; those of a directory by name. A directory that cannot be read is an
 * error, a file is not looked at yet.
 */
export async function reportSources(
  named: readonly string[],
  saveDir: string | null,
): Promise<ReportSources> {
  const places = saveDir === null ? [...named] : [...named, saveDir];
  if (places.length === 0)
    throw new ParsError('usage', 'no image named', {
      hint: 'give save images or a directory of them, or --all for the managed saves of this host',
    });
  const lists = await Promise.all(
    places.map(async (place) => ((await isDirectory(place)) ? savesIn(place) : null)),
  );
  const empty = named.find((_, i) => lists[i]?.length === 0);
  if (empty !== undefined)
    throw new ParsError('missing', `${empty} holds no managed save (*.save)`, {
      hint: 'name the image itself, whatever its name is, or give --all for the managed saves of this host',
    });
  return {
    paths: [...new Set(places.flatMap((place, i) => lists[i] ?? [place]))],
    found: lists.some((list) => list !== null),
  };
}

async function isDirectory(path: string): Promise<boolean> {
  return (await statIfThere(path))?.isDirectory() ?? false;
}

async function savesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory))
      .filter((name) => name.endsWith('.save'))
      .sort()
      .map((name) => join(directory, name));
  } catch (cause) {
    throw new ParsError('refused', `cannot read the directory ${directory}: ${(cause as Error).message}`, {
      hint: 'managed saves are readable for root only',
      cause,
    });
  }
}
