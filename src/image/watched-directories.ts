// SPDX-License-Identifier: Apache-2.0
/**
 * Directories whose finished save images are offloaded like managed saves (configuration: watch). What a file
 * holds decides, not its name: libvirt gives a save its magic last, so a save that is still being written is
 * not one yet.
 */
import { constants, type Dirent } from 'node:fs';
import { lstat, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, ifThere, isMissing } from '../system/absence.js';

const MAGIC = Buffer.from('LibvirtQemudSave');
/** A shorter image cannot become a stub: its head alone is longer. */
const SHORTEST = 4 << 20;

/**
 * The directories that a list of paths and patterns names right now: absolute, each once, in the list's
 * order.
 */
export async function directoriesOf(patterns: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const pattern of patterns) found.push(...(await expand(pattern)));
  return [...new Set(found)];
}

/**
 * The finished save images right in a directory, and files that cannot be looked at: whoever takes them says
 * why. `skip`: paths that are not even to be opened, since somebody works on them: opening asks back a lease.
 * A directory that is not there has none; one that may not be read throws.
 */
export async function savesInDirectory(
  directory: string,
  skip: ReadonlySet<string> = new Set(),
): Promise<string[]> {
  const entries = await entriesOf(directory);
  const paths = entries.filter((entry) => entry.isFile()).map(({ name }) => join(directory, name));
  const saves = await Promise.all(
    paths.map(async (path) => {
      const look = skip.has(path) ? 'busy' : await lookForSave(path);
      return look === 'save' || look === 'unseen' ? path : null;
    }),
  );
  return saves.filter((path) => path !== null);
}

/** 'unseen': it cannot be told. 'busy': somebody has it open alone, to turn it into a stub for one. */
export type SaveLook = 'save' | 'busy' | 'none' | 'unseen';

/** Whether the file at `path` is long enough to become a stub, and begins as libvirt's finished saves do. */
export async function lookForSave(path: string): Promise<SaveLook> {
  try {
    const stats = await lstat(path);
    if (!stats.isFile() || stats.size < SHORTEST) return 'none';
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(MAGIC.length), 0, MAGIC.length, 0);
      return bytesRead === MAGIC.length && buffer.equals(MAGIC) ? 'save' : 'none';
    } finally {
      await file.close();
    }
  } catch (error) {
    const code = codeOf(error);
    if (code === undefined) throw error;
    if (code === 'EWOULDBLOCK' || code === 'EAGAIN') return 'busy';
    // It went away, or became something else.
    return isMissing(error) || code === 'ELOOP' ? 'none' : 'unseen';
  }
}

async function expand(pattern: string): Promise<string[]> {
  let found = ['/'];
  for (const part of pattern.split('/').filter((name) => name !== '')) {
    if (!/[*?]/.test(part)) found = found.map((directory) => join(directory, part));
    else found = (await Promise.all(found.map((directory) => matching(directory, part)))).flat();
  }
  return found;
}

async function matching(directory: string, part: string): Promise<string[]> {
  const parts = part
    .split('')
    .map((letter) => (letter === '*' ? '.*' : letter === '?' ? '.' : escape(letter)));
  const name = new RegExp(`^${parts.join('')}$`, 's');
  const entries = (await entriesOf(directory)).filter(
    (entry) => name.test(entry.name) && isVisible(entry.name, part),
  );
  return entries
    .filter((entry) => entry.isDirectory() || entry.isSymbolicLink())
    .map((entry) => join(directory, entry.name))
    .sort();
}

function isVisible(name: string, part: string): boolean {
  return !name.startsWith('.') || part.startsWith('.');
}

function escape(letter: string): string {
  return letter.replace(/[\\^$.|+()[\]{}/-]/, '\\$&');
}

async function entriesOf(directory: string): Promise<Dirent[]> {
  return ifThere(directory, (at) => readdir(at, { withFileTypes: true }), []);
}
