// SPDX-License-Identifier: Apache-2.0
/** The ways in which libvirt starts a guest from a save, for tests of starts that fail. */
import { readFile, rm } from 'node:fs/promises';
import { watch } from 'node:fs';
import { join } from 'node:path';
import type { Guest } from './lab.js';
import type { ParsHost } from './pars-host.js';

export type Way = 'start' | 'start --bypass-cache' | 'restore FILE' | 'autostart';

const LOG = 'var/log/libvirt/libvirtd.log';
const AUTOSTART_MS = 120_000;

/** Saved where this way of starting finds it, and made a stub; gives its path outside of the lab. */
export async function saveToStub(host: ParsHost, guest: Guest, way: Way): Promise<string> {
  if (way === 'restore FILE') {
    const file = join(host.lab.dir, 'saved elsewhere');
    await rm(file, { force: true });
    await guest.save(file);
    await host.pars('offload', file);
    return file;
  }
  await guest.managedSave();
  await host.untilStub(guest.hostImagePath);
  return guest.hostImagePath;
}

export interface Attempt {
  /** Of virsh; null where nobody is told. */
  code: number | null;
  said: string;
}

export async function attempt(host: ParsHost, guest: Guest, way: Way, image: string): Promise<Attempt> {
  if (way === 'autostart') return { code: null, said: await autostart(host, guest) };
  const words =
    way === 'restore FILE' ? ['restore', image] : ['start', guest.uuid, ...way.split(' ').slice(1)];
  const { code, stderr } = await host.lab.exec('virsh', ['-q', '-c', 'qemu:///system', ...words]);
  return { code, said: stderr };
}

/** libvirt does it once a boot of the host, and tells its log how it went. */
async function autostart(host: ParsHost, guest: Guest): Promise<string> {
  await host.lab.virsh('autostart', guest.uuid);
  await host.lab.exec('sh', ['-c', `rm -f /run/libvirt/qemu/autostarted; : >/${LOG}`]);
  const said = untilText(host.lab.hostPath(LOG), /autostart/i);
  await host.lab.restartLibvirtd();
  const text = await said;
  await host.lab.virsh('autostart', '--disable', guest.uuid);
  return text;
}

/** Looks again whenever the file has changed. */
async function untilText(path: string, pattern: RegExp): Promise<string> {
  const deadline = AbortSignal.timeout(AUTOSTART_MS);
  const changes = watch(path, { signal: deadline });
  try {
    return await new Promise((resolve, reject) => {
      const look = (): void =>
        void readFile(path, 'utf8').then((text) => pattern.test(text) && resolve(text), reject);
      changes.on('change', look).on('error', reject);
      deadline.addEventListener('abort', () => reject(new Error(`nothing like ${pattern} in ${path}`)));
      look();
    });
  } finally {
    changes.close();
  }
}
