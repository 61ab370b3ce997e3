// SPDX-License-Identifier: Apache-2.0
/**
 * Copies of the program that earlier installations made: they go once nothing uses them. What uses one is a
 * process that runs from it, a hook that names it, and a hook that runs just now, since that may be of an
 * older text and about to call it. Those stay for the next installation to remove.
 */
import { readFile, realpath, rm } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { ifThere, namesIn } from '../system/absence.js';
import { COPY_MARK, PACKAGE_ROOT } from '../version.js';

/** Where people may have made a link to a copy. */
const COMMANDS = ['/usr/local/bin/pars', '/usr/bin/pars', '/usr/local/sbin/pars'];

/** Returns what was removed. `current` stays; `hooks` are the scripts that may name a copy. */
export async function removeOldCopies(
  prefix: string,
  current: string,
  hooks: readonly string[],
): Promise<string[]> {
  const old: string[] = [];
  for (const name of await namesIn(prefix)) {
    const directory = join(prefix, name);
    if (directory !== current && (await namesIn(directory)).includes(COPY_MARK)) old.push(directory);
  }
  if (old.length === 0) return [];
  const words = await wordsOfProcesses();
  if (words.some((word) => hooks.includes(word))) return [];
  const named = await textsOf(hooks, COMMANDS);
  const unused = old.filter(
    (directory) =>
      !named.some((text) => text.includes(directory + sep))
      && !words.some((word) => word.includes(directory + sep)),
  );
  for (const directory of unused) await rm(directory, { recursive: true });
  return unused;
}

/** What the hooks say, where the links lead to, and where this program is. */
async function textsOf(hooks: readonly string[], links: readonly string[]): Promise<string[]> {
  const texts = [PACKAGE_ROOT + sep];
  for (const path of hooks) texts.push(await ifThere(path, (at) => readFile(at, 'utf8'), ''));
  for (const path of links) texts.push(await ifThere(path, (at) => realpath(at), ''));
  return texts;
}

/** Of all command lines: a hook calls the runtime of its copy, and that its reader, by their whole paths. */
async function wordsOfProcesses(): Promise<string[]> {
  const pids = (await namesIn('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(
    pids.map((pid) => ifThere(`/proc/${pid}/cmdline`, (at) => readFile(at, 'utf8'), '')),
  );
  return lines.flatMap((line) => line.split('\0'));
}
