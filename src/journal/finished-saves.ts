// SPDX-License-Identifier: Apache-2.0
/**
 * Finished saves that `pars watch` has met outside the watched directories, one small file each: what is
 * noted is offloaded by any worker, also after a reboot. A note lasts until its image is a stub, or gone.
 */
import { createHash } from 'node:crypto';
import { mkdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ifThere, namesIn, readIfThere } from '../system/absence.js';
import { writeAtomically } from '../system/atomic-file.js';

export async function noteFinishedSave(stateDir: string, image: string): Promise<void> {
  const directory = join(stateDir, 'finished');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeAtomically(noteOf(stateDir, image), `${JSON.stringify({ image })}\n`);
}

/** Paths that were noted. What is not such a note is passed over. */
export async function finishedSaves(stateDir: string): Promise<string[]> {
  const directory = join(stateDir, 'finished');
  const notes = (await namesIn(directory)).filter((name) => /^[0-9a-f]{24}\.json$/.test(name));
  const images = await Promise.all(notes.map((name) => imageIn(join(directory, name))));
  return images.filter((image) => image !== null);
}

/** The image is a stub or gone, or nobody's any more. */
export async function forgetFinishedSave(stateDir: string, image: string): Promise<void> {
  await ifThere(noteOf(stateDir, image), (note) => unlink(note), undefined);
}

async function imageIn(path: string): Promise<string | null> {
  try {
    const text = await readIfThere(path);
    if (text === null) return null;
    const { image } = JSON.parse(text) as { image?: unknown };
    return typeof image === 'string' ? image : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function noteOf(stateDir: string, image: string): string {
  return join(stateDir, 'finished', `${createHash('sha256').update(image).digest('hex').slice(0, 24)}.json`);
}
