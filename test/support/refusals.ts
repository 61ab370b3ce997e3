// SPDX-License-Identifier: Apache-2.0
/**
 * Every way in which the start of a stub is refused (docs/safety.md, R30): what is broken before the start,
 * and how it is mended. What libvirt says, and what becomes of the stub, is judged by
 * test/integration/refusals.test.ts.
 */
import { chmod, copyFile, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Guest } from './lab.js';
import type { ParsHost } from './pars-host.js';

export interface Refusal {
  /** As the table calls it. */
  reason: string;
  /** What virsh must say; where QEMU refuses, nothing of ours. */
  said: RegExp;
  /** Breaks something; gives what mends it. */
  break(host: ParsHost, guest: Guest): Promise<() => Promise<void>>;
  /** The stub is one afterwards, but not the same bytes: a hydration had begun (R17). */
  begun?: boolean;
  /** The hook is not even run, so nobody but libvirt knows. */
  unheard?: boolean;
}

/** As libvirt 6.5 and later find it. */
const HOOK = 'etc/libvirt/hooks/qemu.d/pars';

async function away(host: ParsHost): Promise<() => Promise<void>> {
  for (const nth of [0, 1, 2]) await host.unmount(nth);
  return async () => {
    for (const nth of [0, 1, 2]) await host.mount(nth);
  };
}

/**
 * Replaces a file by what `change` makes of it, and gives what puts it back. libvirt runs whatever may be run
 * in qemu.d.
 */
async function changeFile(
  host: ParsHost,
  inside: string,
  change: (text: string) => string,
): Promise<() => Promise<void>> {
  const path = host.lab.hostPath(inside);
  const before = await readFile(path, 'utf8');
  await writeFile(path, change(before));
  return () => writeFile(path, before);
}

/** Puts a script in the place of the hook's Node. */
async function insteadOfNode(host: ParsHost, script: string): Promise<() => Promise<void>> {
  const path = join(host.lab.dir, 'stand-in');
  await writeFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return changeFile(host, HOOK, (text) => text.replace(/^node=.*$/m, `node='${path}'`));
}

export const STORE_AWAY: Refusal = { reason: 'store away', said: /pars: .*(store|director)/is, break: away };

export const PROGRAM_GONE: Refusal = {
  reason: 'program not there',
  said: /cannot be run/,
  break: (host) => changeFile(host, HOOK, (text) => text.replace(/^node=.*$/m, "node='/nowhere/node'")),
};

/** Its blocks are reserved, so that it is no longer a few MiB on the disk, and some of them written. */
export const KILLED_HALF_WAY: Refusal = {
  reason: 'program killed half-way (R17)',
  said: /Killed|137/,
  begun: true,
  break: (host, guest) =>
    insteadOfNode(
      host,
      `
    '${process.execPath}' "$@" & 
    while kill -0 $! 2>/dev/null && [ "$(stat -c %b '${guest.imagePath}')" -lt 20000 ]; do sleep 0.01; done
    kill -9 $!; wait $!; kill -9 $$`,
    ),
};

export const NOT_NOTED: Refusal = {
  reason: 'nothing can be noted',
  said: /start|restore/i,
  break: async (host) => {
    const undo = await away(host);
    const refused = host.lab.hostPath('var/lib/pars/refused');
    await rm(refused, { recursive: true, force: true });
    await writeFile(refused, '');
    return async () => {
      await rm(refused);
      await undo();
    };
  },
};

const CLAIMED: Refusal = {
  reason: 'claimed by another host',
  said: /claimed by another host/,
  break: async (host, guest) => {
    const snapshot = await host.snapshotOf(guest);
    const other = join(host.lab.dir, 'other-machine');
    await writeFile(other, `${'0123456789abcdef'.repeat(2)}\n`);
    const { code, stderr } = await host.lab.exec('unshare', [
      '--mount',
      'sh',
      '-c',
      'mount --bind "$1" /etc/machine-id && shift && exec "$@"',
      'sh',
      other,
      ...host.command('takeover', snapshot),
    ]);
    if (code !== 0) throw new Error(stderr);
    return async () => void (await host.pars('takeover', snapshot));
  },
};

const DISK_CHANGED: Refusal = {
  reason: 'disk changed',
  said: /disk|changed/,
  break: async (_, guest) => {
    const disk =
      /(?<=<source file=')[^']*\.qcow2/.exec(await guest.lab.virsh('dumpxml', '--inactive', guest.uuid))?.[0]
      ?? '';
    const { atime } = await stat(disk);
    await copyFile('/dev/null', `${disk}.reference`);
    await guest.lab.exec('touch', ['-r', disk, `${disk}.reference`]);
    await utimes(disk, atime, new Date());
    return async () => void (await guest.lab.exec('touch', ['-r', `${disk}.reference`, disk]));
  },
};

const LOST: Refusal = {
  reason: 'critical data lost',
  said: /lost|copy|copies/,
  break: async (host, guest) => {
    const snapshot = await host.snapshotOf(guest);
    const skeletons = host.disks.map((disk) => join(disk, snapshot, 'skeleton.0'));
    for (const path of skeletons) await rename(path, `${path}.away`);
    return async () => {
      for (const path of skeletons) await rename(`${path}.away`, path);
    };
  },
};

const TOO_LATE: Refusal = {
  reason: 'hook.deadline passed',
  said: /could not be refilled within/,
  break: async (host) => {
    const config = await changeFile(host, 'etc/pars/pars.yaml', (text) =>
      text.replace('wait_for_store: 2s', 'wait_for_store: 1m\n  deadline: 2s'),
    );
    const undo = await away(host);
    return async () => {
      await undo();
      await config();
    };
  },
};

const BAD_CONFIG: Refusal = {
  reason: 'configuration not readable',
  said: /pars\.yaml/,
  break: (host) => changeFile(host, 'etc/pars/pars.yaml', (text) => `${text}no such key: [\n`),
};

const TERMINATED: Refusal = {
  reason: 'hook ended by SIGTERM',
  said: /ended with status|Terminated/,
  break: (host) => insteadOfNode(host, 'kill -TERM $PPID; kill -TERM $$'),
};

/** What no hook can answer: libvirt 11.3 deletes the stub, and the store has to give it back. */
export const KILLED_HOOK: Refusal = {
  reason: 'hook ended by SIGKILL',
  said: /./,
  break: (host) => changeFile(host, HOOK, (text) => text.replace(/^ *trap : HUP.*$/m, 'kill -9 $$$$')),
};

const NOT_EXECUTABLE: Refusal = {
  reason: 'hook not executable: QEMU refuses',
  said: /start|restore/i,
  unheard: true,
  break: async (host) => {
    const hook = host.lab.hostPath(HOOK);
    await chmod(hook, 0o644);
    return () => chmod(hook, 0o755);
  },
};

/**
 * What the gate tries: one of the program's own, one of the shell's, one in the middle, and one that is left
 * to QEMU.
 */
export const REPRESENTATIVE: readonly Refusal[] = [STORE_AWAY, PROGRAM_GONE, KILLED_HALF_WAY, NOT_NOTED];

export const ALL_REFUSALS: readonly Refusal[] = [
  ...REPRESENTATIVE,
  CLAIMED,
  DISK_CHANGED,
  LOST,
  TOO_LATE,
  BAD_CONFIG,
  TERMINATED,
  NOT_EXECUTABLE,
];
