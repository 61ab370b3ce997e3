// SPDX-License-Identifier: Apache-2.0
/**
 * Finished saves that `pars watch` has met outside the watched directories, one small file each: what is
 * noted is offloaded by any worker, also after a reboot. A note lasts until its image is a stub, or gone from
 * the directory that it was in: the same path leads elsewhere while a disk is not mounted.
 */
import { createHash } from 'node:crypto';
import { mkdir, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ifThere, namesIn, readIfThere } from '../system/absence.js';
import { writeAtomically } from '../system/atomic-file.js';
import { parseJson } from '../system/json-text.js';

interface Note {
  image: string;
  /** The inode of its directory; absent in notes of earlier versions. */
  directory?: string | null;
}

export async function noteFinishedSave(stateDir: string, image: string): Promise<void> {
  const directory = join(stateDir, 'finished');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const note: Note = { image, directory: await directoryOf(image) };
  await writeAtomically(noteOf(stateDir, image), `${JSON.stringify(note)}\n`);
}

/** Paths that were noted. What is not such a note is passed over. */
export async function finishedSaves(stateDir: string): Promise<string[]> {
  const directory = join(stateDir, 'finished');
  const notes = (await namesIn(directory)).filter((name) => /^[0-9a-f]{24}\.json$/.test(name));
  const read = await Promise.all(notes.map((name) => readNote(join(directory, name))));
  return read.flatMap((note) => (note === null ? [] : [note.image]));
}

/** There is no such image at its path. */
export async function forgetGoneSave(stateDir: string, image: string): Promise<void> {
  const there = await directoryOf(image);
  const noted = (await readNote(noteOf(stateDir, image)))?.directory ?? there;
  if (there !== null && there === noted) await forgetFinishedSave(stateDir, image);
}

/** The image is a stub. */
export async function forgetFinishedSave(stateDir: string, image: string): Promise<void> {
  await ifThere(noteOf(stateDir, image), (note) => unlink(note), undefined);
}

/** Null when it is not there: on a disk that is not mounted, perhaps. */
async function directoryOf(image: string): Promise<string | null> {
  const stats = await ifThere(dirname(image), (path) => stat(path, { bigint: true }), null);
  return stats && String(stats.ino);
}

async function readNote(path: string): Promise<Note | null> {
  const text = await readIfThere(path);
  const note = text === null ? null : (parseJson(text) as Partial<Note> | null | undefined);
  return typeof note?.image === 'string' ? { ...note, image: note.image } : null;
}

function noteOf(stateDir: string, image: string): string {
  return join(stateDir, 'finished', `${createHash('sha256').update(image).digest('hex').slice(0, 24)}.json`);
}
