// SPDX-License-Identifier: Apache-2.0
/**
 * When the systemd units of Pars run at a boot and at a shutdown, as far as that depends on this host: while
 * what the configuration names is mounted, and, where libvirt's daemon saves the guests itself at a shutdown,
 * on the other side of that daemon. Written as a drop-in for each unit.
 *
 * Ordering only: a unit that required its mounts would not be there to drain anything once one of them had
 * failed. Units that do not exist order nothing.
 */
import { execFile } from 'node:child_process';
import { unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { libvirtVersion } from '../libvirt/daemons.js';
import type { Config } from '../policy/config.js';
import { parseDirectories } from '../stores/local/locations.js';
import { parseStoreUrl } from '../stores/open.js';
import { isThere, readIfThere } from '../system/absence.js';
import { writeAtomically } from '../system/atomic-file.js';
import { bestEffort } from '../system/best-effort.js';
import { isAtLeast, type Version } from '../system/version.js';
import { makeOpenDirectory } from './program-copy.js';

export const UNIT_DIR = '/etc/systemd/system';
const DROP_IN = 'pars-order.conf';
const UNITS = ['pars-drain.service', 'pars-wake.service', 'pars-offload.service'] as const;
/** libvirt can save guests when the host goes down since then (auto_shutdown_try_save of qemu.conf). */
const SAVES_ITSELF_SINCE: Version = [11, 2];

/** Directories that the units need: of the store, of the saves, of what is noted. */
export type Needed = readonly string[];

export function neededDirectories({ store, stateDir }: Config, saveDir: string): Needed {
  const { scheme, rest } = store === null ? { scheme: null, rest: '' } : parseStoreUrl(store);
  return [...(scheme === 'local' ? parseDirectories(rest) : []), saveDir, stateDir];
}

/** Path and text of each drop-in. */
async function dropIns(needed: Needed, unitDir: string): Promise<[path: string, text: string][]> {
  const savesItself = isAtLeast(await libvirtVersion(), SAVES_ITSELF_SINCE);
  return UNITS.map((unit) => [
    join(unitDir, `${unit}.d`, DROP_IN),
    textFor(needed, savesItself && unit === 'pars-drain.service'),
  ]);
}

function textFor(needed: Needed, beforeDaemon: boolean): string {
  const mounts = [...new Set(needed.flatMap(mountUnits))].sort();
  return [
    '# Written by "pars hooks install" from its configuration: run that again when the store has changed.',
    '[Unit]',
    ...mounts.map((unit) => `After=${unit}`),
    ...(beforeDaemon ? ['Before=libvirtd.service virtqemud.service'] : []),
    '',
  ].join('\n');
}

/** Whatever may be mounted at a path or above it, by itself or when it is looked at. */
function mountUnits(path: string): string[] {
  const units: string[] = [];
  for (let at = path; at !== '/' && at !== '.'; at = dirname(at))
    units.push(`${escaped(at)}.mount`, `${escaped(at)}.automount`);
  return units;
}

/** As systemd-escape --path has it. */
export function escaped(path: string): string {
  const bytes = Buffer.from(path.split('/').filter(Boolean).join('/'));
  return [...bytes]
    .map((byte, i) => {
      const letter = String.fromCharCode(byte);
      if (letter === '/') return '-';
      return /[A-Za-z0-9:_]/.test(letter) || (letter === '.' && i > 0)
        ? letter
        : `\\x${byte.toString(16).padStart(2, '0')}`;
    })
    .join('');
}

/** Where systemd runs; returns what was changed. */
export async function orderUnits(
  needed: Needed,
  unitDir = UNIT_DIR,
  runtime = '/run/systemd/system',
): Promise<string[]> {
  if (!(await isThere(runtime))) return [];
  const changes: string[] = [];
  for (const [path, text] of await dropIns(needed, unitDir)) {
    if ((await readIfThere(path)) === text) continue;
    await makeOpenDirectory(dirname(path));
    await writeAtomically(path, text, 0o644);
    changes.push(`wrote ${path}`);
  }
  if (changes.length > 0) await promisify(execFile)('systemctl', ['daemon-reload']);
  return changes;
}

/** Those that are there and are not what they should be, or should be there and are not. */
export async function unitsOutOfOrder(needed: Needed, unitDir = UNIT_DIR): Promise<string[]> {
  const wrong: string[] = [];
  for (const [path, text] of await dropIns(needed, unitDir))
    if ((await readIfThere(path)) !== text) wrong.push(path);
  return wrong;
}

export async function forgetOrder(unitDir = UNIT_DIR): Promise<string[]> {
  const paths = UNITS.map((unit) => join(unitDir, `${unit}.d`, DROP_IN));
  const removed: string[] = [];
  for (const path of paths) {
    if (!(await isThere(path))) continue;
    await unlink(path);
    removed.push(`removed ${path}`);
  }
  if (removed.length > 0) await bestEffort(promisify(execFile)('systemctl', ['daemon-reload']));
  return removed;
}
