// SPDX-License-Identifier: Apache-2.0
/**
 * Where finished saves are looked for: libvirt's directory of managed saves, what is watched, and what `pars
 * watch` has noted.
 */
import { dirname, join } from 'node:path';
import { namesIn, readIfThere } from '../system/absence.js';
import { writeAtomically } from '../system/atomic-file.js';
import { realDirectory, realPathOf } from '../system/real-path.js';
import { directoriesOf, lookForSave, savesInDirectory } from '../image/watched-directories.js';
import { finishedSaves, forgetGoneSave } from '../journal/finished-saves.js';
import type { Job } from '../journal/jobs.js';

export interface SavePlaces {
  stateDir: string;
  /** libvirt's directory of managed saves. */
  saveDir: string;
  /** Directories and patterns of the configuration (watch). */
  watch?: readonly string[];
}

/** The managed saves, stubs and whole ones. */
export async function savesIn(saveDir: string): Promise<string[]> {
  const names = (await namesIn(saveDir)).filter((name) => name.endsWith('.save'));
  const directory = await realDirectory(saveDir);
  return names.map((name) => join(directory, name));
}

/**
 * The managed saves, and all else that libvirt has finished in these places; each once, by the one path that
 * it has however its directory is reached. What a job works on is not opened.
 */
export async function allSaves(places: SavePlaces, jobs: readonly Job[]): Promise<string[]> {
  const { stateDir, saveDir, watch = [] } = places;
  const busy = new Set(jobs.filter(({ state }) => state === 'running').map(({ image }) => image));
  const found = await savesIn(saveDir);
  const directories = await Promise.all((await directoriesOf(watch)).map(realDirectory));
  const managed = await realDirectory(saveDir);
  for (const directory of new Set(directories))
    if (directory !== managed) found.push(...(await savesInDirectory(directory, busy)));
  for (const image of await finishedSaves(stateDir)) {
    const path = await realPathOf(image);
    const look = busy.has(path) ? 'save' : await lookForSave(image);
    if (look === 'save' || look === 'unseen') found.push(path);
    if (look === 'none') await forgetGoneSave(stateDir, image);
  }
  return [...new Set(found)];
}

/** libvirt itself removes a managed save when its guest has started from it. */
export async function isManagedSave(image: string, saveDir: string): Promise<boolean> {
  return image.endsWith('.save') && dirname(await realPathOf(image)) === (await realDirectory(saveDir));
}

/**
 * Tells the hook, which reads no configuration, whether a save may lie elsewhere than among libvirt's managed
 * saves: after each save of a guest it calls a worker then.
 */
export async function tellHook({ stateDir, watch = [] }: Omit<SavePlaces, 'saveDir'>): Promise<void> {
  const path = join(stateDir, 'watched');
  const text = watch.map((pattern) => `${pattern}\n`).join('');
  const before = (await readIfThere(path)) ?? '';
  if (before !== text) await writeAtomically(path, text);
}
