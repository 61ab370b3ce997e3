// SPDX-License-Identifier: Apache-2.0
/**
 * The moment between image and stub, noted before it comes. The change of a few hundred bytes may span
 * sectors of the disk, and a power cut leave some as they were: a mixture that is neither, and that passes
 * for a whole image where the record's magic is not among what was written. By its note it becomes the stub
 * again, whose snapshot is proved.
 */
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod/mini';
import { parseJson } from '../system/json-text.js';
import { bestEffort } from '../system/best-effort.js';
import { namesIn, readIfThere } from '../system/absence.js';
import { writeAtomically } from '../system/atomic-file.js';
import { ParsError } from '../errors.js';
import type { ImageFile } from './image-file.js';

/** What a disk writes whole or not at all; the least there is. */
const SECTOR = 512;

const noted = z.object({
  offset: z.int().check(z.nonnegative()),
  /** Of the same length: the bytes that make the file a stub, and those that make it an image. */
  stub: z.base64(),
  image: z.base64(),
});

export interface RecordChange {
  /** Where in the file it is. */
  offset: number;
  /** Bytes of the same length: those that make it a stub, and those that make it an image. */
  stub: Buffer;
  image: Buffer;
}

export class RecordChanges {
  readonly #directory: string;

  constructor(stateDir: string) {
    this.#directory = join(stateDir, 'changes');
  }

  /**
   * Makes a durable note of a change that is about to be made; returns what takes the note away when it is on
   * the disk, or was not made.
   */
  async note(file: ImageFile, { offset, stub, image }: RecordChange): Promise<() => Promise<void>> {
    const path = await this.#pathOf(file);
    await writeAtomically(
      path,
      JSON.stringify({ offset, stub: stub.toString('base64'), image: image.toString('base64') }),
    );
    return () => bestEffort(unlink(path));
  }

  /**
   * Makes the file the stub again if a power cut left it between the two; true if it did. The caller has
   * locked it for writing. A device may have another number since the boot: then the bytes tell whether the
   * note of such an inode is this file's.
   */
  async repair(file: ImageFile): Promise<boolean> {
    for (const { path, change, found } of await this.#notesOf(file)) {
      if (found === 'mixture') {
        await file.write(change.stub, change.offset);
        await file.sync();
      }
      await bestEffort(unlink(path));
      if (found === 'mixture') return true;
    }
    return false;
  }

  /** Whether a power cut has left the file between the two, so that `repair` will make it the stub. */
  async isHalf(file: ImageFile): Promise<boolean> {
    return (await this.#notesOf(file)).some(({ found }) => found === 'mixture');
  }

  /** The notes that are of this file, and what it holds in their places. */
  async #notesOf(file: ImageFile): Promise<{ path: string; change: RecordChange; found: Side }[]> {
    const own = await this.#pathOf(file);
    const { ino } = await file.identity();
    const notes: { path: string; change: RecordChange; found: Side }[] = [];
    for (const name of await namesIn(this.#directory)) {
      const path = join(this.#directory, name);
      if (!name.endsWith(`.${ino}.json`)) continue;
      const change = await readChange(path).catch((error: unknown) => {
        if (path === own) throw error;
        return null;
      });
      const found = change && sideOf(await file.read(change.offset, change.stub.length), change);
      if (change && found && (found !== 'neither' || path === own)) notes.push({ path, change, found });
    }
    return notes;
  }

  /** Named after the file itself: by another path it is the same, and another file by its path is not. */
  async #pathOf(file: ImageFile): Promise<string> {
    const { dev, ino } = await file.identity();
    return join(this.#directory, `${dev}.${ino}.json`);
  }
}

async function readChange(path: string): Promise<RecordChange | null> {
  const text = await readIfThere(path);
  if (text === null) return null;
  const parsed = noted.safeParse(parseJson(text));
  if (!parsed.success)
    throw new ParsError('corrupt', `${path}, the note of a change to this image, is damaged`, {
      hint:
        'it is not known whether the image is whole: write it again with "pars restore SNAPSHOT --to '
        + 'FILE", then remove the note',
    });
  const { offset, stub, image } = parsed.data;
  return { offset, stub: Buffer.from(stub, 'base64'), image: Buffer.from(image, 'base64') };
}

type Side = 'one' | 'mixture' | 'neither';

/** Of a mixture some sectors are the stub's, the others the image's. 'neither' is another file. */
function sideOf(found: Buffer, { offset, stub, image }: RecordChange): Side {
  if (found.length !== stub.length || stub.length !== image.length) return 'neither';
  if (found.equals(stub) || found.equals(image)) return 'one';
  for (let at = 0; at < found.length;) {
    const end = Math.min(found.length, at + SECTOR - ((offset + at) % SECTOR));
    const is = (side: Buffer): boolean => found.subarray(at, end).equals(side.subarray(at, end));
    if (!is(stub) && !is(image)) return 'neither';
    at = end;
  }
  return 'mixture';
}
