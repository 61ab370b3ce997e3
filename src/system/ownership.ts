// SPDX-License-Identifier: Apache-2.0
/**
 * Whom a file or directory obeys. What root obeys may be changed by root alone: whoever owns it, may write it
 * or may put another in its place decides what root does. The same holds for every other user, who trusts
 * root besides.
 */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  realpathSync,
  statSync,
  type Stats,
} from 'node:fs';
import { stat as statNow } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ParsError } from '../errors.js';
import { isMissing } from './absence.js';

const [GROUP_WRITES, OTHERS_WRITE, OTHERS_READ, STICKY] = [0o020, 0o002, 0o004, 0o1000];

/** What stat(2) tells of it. */
type Owned = Pick<Stats, 'uid' | 'gid' | 'mode'>;

/** Why others than this user and root decide what is in it; null when nobody does. */
export function whyOthersDecide({ uid, gid, mode }: Owned): string | null {
  if (uid !== 0 && uid !== process.geteuid?.()) return `belongs to user ${uid}`;
  if ((mode & OTHERS_WRITE) !== 0) return 'may be written by everybody';
  if ((mode & GROUP_WRITES) !== 0 && gid !== 0 && gid !== process.getegid?.())
    return `may be written by group ${gid}`;
  return null;
}

/** The same of a directory on the way: in one like /tmp nobody moves what is another's. */
function whyOthersReplace(directory: Owned): string | null {
  const isSticky = (directory.mode & STICKY) !== 0;
  return isSticky && directory.uid === 0 ? null : whyOthersDecide(directory);
}

/**
 * Why others decide what is in a directory that is there: it, or one above it, is theirs. Null when nobody
 * does.
 */
export async function othersInDirectory(
  path: string,
  stat: (path: string) => Promise<Owned> = statNow,
): Promise<string | null> {
  const why = whyOthersDecide(await stat(path));
  return why === null ? othersAbove(path, stat) : `${path} ${why}`;
}

/**
 * Why others may put something else in the place of `path`, which need not be there; null when nobody can.
 */
export async function othersAbove(
  path: string,
  stat: (path: string) => Promise<Owned> = statNow,
): Promise<string | null> {
  for (const directory of directoriesAbove(path)) {
    const found = await stat(directory).catch((error: unknown) => {
      if (isMissing(error)) return null;
      throw error;
    });
    const why = found === null ? null : whyOthersReplace(found);
    if (why !== null) return `${directory} ${why}`;
  }
  return null;
}

/**
 * The contents of a file that this user obeys: `what`, for messages ("the configuration"). Throws 'refused'
 * when others decide what is in it; of a `secret` one when everybody may read it. What the system says when
 * it cannot be opened is thrown as it is.
 */
export function readTrusted(what: string, path: string, { secret = false } = {}): Buffer {
  // Of a pipe without a writer the opening would wait.
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const found = fstatSync(descriptor);
    if (!found.isFile()) throw refused(`${what} ${path} is not a regular file`, 'name a file');
    const why = whyOthersDecide(found) ?? whyOthersPutAnother(path);
    if (why !== null)
      throw refused(
        `${what} ${path} is not obeyed: ${why.startsWith('/') ? why : `it ${why}`}`,
        `who can change it decides what pars does: chown root:root and chmod go-w, of the file and of the `
          + 'directories above it',
      );
    if (secret && (found.mode & OTHERS_READ) !== 0)
      throw refused(`${what} ${path} may be read by everybody`, `keep it to its owner: chmod 600 ${path}`);
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Of the file itself, wherever a link to it leads, and of the link. */
function whyOthersPutAnother(path: string): string | null {
  const links = [realpathSync(path), join(realpathSync(dirname(path)), basename(path))];
  for (const directory of new Set(links.flatMap(directoriesAbove))) {
    const why = whyOthersReplace(statSync(directory));
    if (why !== null) return `${directory} ${why}`;
  }
  return null;
}

function directoriesAbove(path: string): string[] {
  const above: string[] = [];
  for (let at = path; at !== dirname(at); at = dirname(at)) above.push(dirname(at));
  return above;
}

function refused(message: string, hint: string): ParsError {
  return new ParsError('refused', message, { hint });
}
