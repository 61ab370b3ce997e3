// SPDX-License-Identifier: Apache-2.0
/** A file that an option or the configuration names to be written. */
import { constants } from 'node:fs';
import { access, open, realpath } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { ParsError } from '../errors.js';
import { MARKER_FILE } from '../stores/marker.js';
import { ifThere, isThere, statIfThere } from '../system/absence.js';

/** What a command writes, and may therefore write again: told by how a file begins. */
export interface FileKind {
  /** With its article: "a report that pars wrote". */
  name: string;
  /** Whether a file that begins so is one; `head` holds at most HEAD_BYTES of it. */
  isOne(head: string): boolean;
  /** What to do when a file of another kind is there. */
  hint: string;
}

/** How much of a file tells its kind. */
const HEAD_BYTES = 4096;
/** What libvirt's images begin with, finished (Save) or not (Part), and stubs with them. */
const IMAGE_MAGIC = 'LibvirtQemud';

/**
 * Its full path, once it is clear that a file can be there: known before the work begins, not after it. A
 * mistyped directory is not made.
 */
export async function targetFile(option: string, path: string): Promise<string> {
  const target = resolve(path);
  const directory = dirname(target);
  if (!(await isDirectory(directory)))
    throw new ParsError('usage', `${option} ${path}: there is no directory ${directory}`, {
      hint: 'make it first, or name another',
    });
  const there = await statIfThere(target);
  if (there?.isDirectory())
    throw new ParsError('usage', `${option} ${path} is a directory`, {
      hint: `name the file to write in it, e.g. ${option} ${target === '/' ? '' : target}/NAME`,
    });
  if (there !== null && !there.isFile())
    throw new ParsError('usage', `${option} ${path} is there and is not a regular file`, {
      hint: 'name a file that can be replaced',
    });
  await access(directory, constants.W_OK).catch((cause: Error) => {
    throw new ParsError(
      'refused',
      `${option} ${path}: the directory ${directory} cannot be written to: ${cause.message}`,
      { hint: 'name a file in another, or run this as root', cause },
    );
  });
  await refuseStore(option, path, await realpath(directory));
  return target;
}

/**
 * Throws 'refused' when a file is there that is neither empty nor of that kind: a save image, which may be
 * the
 * guest's only memory, above all. To be called before the work, and once more right before the file is
 * replaced.
 */
export async function refuseOtherKind(option: string, target: string, kind: FileKind): Promise<void> {
  const head = await ifThere(target, readHead, '');
  if (head === '' || kind.isOne(head)) return;
  const isImage = head.startsWith(IMAGE_MAGIC);
  const what = isImage
    ? 'is a save image or a stub: the memory of a guest'
    : `is there, and is not ${kind.name}`;
  throw new ParsError('refused', `${option} ${target} ${what}`, { hint: kind.hint });
}

/** What a store's directories hold is the store's: no option writes there, forced or not. */
async function refuseStore(option: string, path: string, directory: string): Promise<void> {
  for (let above = directory; ; above = dirname(above)) {
    if (await isThere(join(above, MARKER_FILE)))
      throw new ParsError('refused', `${option} ${path}: ${above} is a directory of a store`, {
        hint: 'name a file elsewhere',
      });
    if (above === dirname(above)) return;
  }
}

async function readHead(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return (await statIfThere(path))?.isDirectory() ?? false;
}
