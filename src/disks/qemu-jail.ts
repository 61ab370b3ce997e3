// SPDX-License-Identifier: Apache-2.0
/**
 * How QEMU's tools are run that open guests' disks. As root they run under a user of their own that may
 * read every file and do nothing else that root may, and without network unless a disk is on one; they end
 * with us.
 */
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { isForbidden, isMissing } from '../system/absence.js';

const PROGRAM_PATH = ['/usr/local/bin', '/usr/bin', '/bin', '/usr/local/sbin', '/usr/sbin', '/sbin'];
export const JAIL_ENV = { PATH: PROGRAM_PATH.join(':'), LC_ALL: 'C' };
/** The range systemd uses for dynamic users, as for the reader: no account and no file belongs to it. */
const FIRST_UID = 61_184;
const UIDS = 4336;

/** Null when it is not installed. */
export function qemuTool(name: string): string | null {
  return PROGRAM_PATH.map((directory) => join(directory, name)).find(isExecutable) ?? null;
}

/** Whose they are. */
export function jailUid(): number {
  return FIRST_UID + (process.pid % UIDS);
}

/** The words that run `command` that way. */
export function jailed(command: readonly string[], network: boolean): string[] {
  const limits = ['prlimit', '--core=0', '--nofile=256', '--', ...command];
  const privileges = ['setpriv', '--no-new-privs', '--pdeathsig', 'KILL'];
  if (process.getuid?.() !== 0) return [...privileges, '--', ...limits];
  const uid = jailUid();
  const only = '-all,+dac_read_search';
  const identity = [
    `--reuid=${uid}`,
    `--regid=${uid}`,
    '--clear-groups',
    `--inh-caps=${only}`,
    `--ambient-caps=${only}`,
    `--bounding-set=${only}`,
  ];
  return [
    'unshare',
    '--ipc',
    ...(network ? [] : ['--net']),
    '--',
    ...privileges,
    ...identity,
    '--',
    ...limits,
  ];
}

/** What one of them said on stderr, for people. */
export function oneLine(stderr: string): string {
  const words = stderr
    .trim()
    .replace(/^qemu-(nbd|img): /gm, '')
    .replace(/(Failed to blk_new_open|Could not open) '[^\n]*': /g, '')
    .split('\n')
    .join('; ');
  return words || 'it says nothing';
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch (error) {
    if (!isMissing(error) && !isForbidden(error)) throw error;
    return false;
  }
}
