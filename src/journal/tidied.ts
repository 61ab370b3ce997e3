// SPDX-License-Identifier: Apache-2.0
/** What the worker last removed from the store, and what of it no guest needs: STATE/tidied.json. */
import { join } from 'node:path';
import { writeAtomically } from '../system/atomic-file.js';
import { readIfThere } from '../system/absence.js';
import { parseJson } from '../system/json-text.js';

export interface Tidied {
  time: string;
  removed: number;
  removedBytes: number;
  /** May go now. */
  due: number;
  dueBytes: number;
  /** Go when their time has come. */
  later: number;
  laterBytes: number;
}

export async function noteTidied(stateDir: string, tidied: Tidied): Promise<void> {
  await writeAtomically(join(stateDir, 'tidied.json'), `${JSON.stringify(tidied)}\n`);
}

/** Null when no worker has looked yet. */
export async function readTidied(stateDir: string): Promise<Tidied | null> {
  const text = await readIfThere(join(stateDir, 'tidied.json'));
  const noted = text === null ? undefined : (parseJson(text) as Tidied | undefined);
  return typeof noted?.dueBytes === 'number' ? noted : null;
}
