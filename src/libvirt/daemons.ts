// SPDX-License-Identifier: Apache-2.0
/** libvirt's daemons on this host: their version, and which of them run. */
import { execFile } from 'node:child_process';
import { readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ifThere, isMissing, readIfThere } from '../system/absence.js';
import { ParsError } from '../errors.js';
import type { Version } from '../system/version.js';

const DAEMONS = ['libvirtd', 'virtqemud'] as const;

export async function libvirtVersion(): Promise<Version> {
  for (const daemon of DAEMONS) {
    const output = await promisify(execFile)(daemon, ['--version'], {
      env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
    }).catch((error: unknown) => {
      if (isMissing(error)) return null;
      throw new ParsError('unreachable', `${daemon} does not say its version: ${(error as Error).message}`, {
        cause: error,
      });
    });
    const match = /(\d+)\.(\d+)\.\d+/.exec(output?.stdout ?? '');
    if (match) return [Number(match[1]), Number(match[2])];
  }
  throw new ParsError(
    'missing',
    'neither libvirtd nor virtqemud is installed here, so there is nothing to hook into',
    { hint: 'install libvirt (Debian: libvirt-daemon-system), then run this again' },
  );
}

/** A process as nobody else will be it again: its pid and when it began, in clock ticks since the boot. */
export async function daemonId(pid: number): Promise<string> {
  const stat = (await readIfThere(join('/proc', String(pid), 'stat'))) ?? '';
  return `${pid}:${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''}`;
}

/** Those that see our hook: a daemon in another mount namespace (a container's, a test's) looks elsewhere. */
export async function runningDaemons(): Promise<{ name: string; pid: number }[]> {
  const ours = await readlink('/proc/self/ns/mnt');
  const found: { name: string; pid: number }[] = [];
  for (const name of (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry))) {
    const comm = ((await readIfThere(join('/proc', name, 'comm'))) ?? '').trim();
    if (!DAEMONS.some((daemon) => daemon === comm)) continue;
    if ((await ifThere(join('/proc', name, 'ns', 'mnt'), (link) => readlink(link), null)) === ours)
      found.push({ name: comm, pid: Number(name) });
  }
  return found;
}
