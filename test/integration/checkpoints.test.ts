// SPDX-License-Identifier: Apache-2.0
/** Checkpoints of a real guest, and rollbacks. libvirt before 9.9 refuses to revert to external snapshots. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectSound } from '../support/guest-judge.js';
import { labMissing, libvirtVersion, type Guest } from '../support/lab.js';
import { ParsHost } from '../support/pars-host.js';

const REVERTS_SINCE = 9010;

interface Made {
  checkpoint: string;
  pauseMs: number | null;
  deleted: string[];
  offloaded: { stub: boolean; snapshot: string };
}

interface Listed {
  name: string;
  state: string;
  stored: string | null;
}

describe.skipIf(libvirtVersion() < REVERTS_SINCE)('checkpoints', () => {
  let host: ParsHost;
  let guest: Guest;

  beforeAll(async () => {
    expect(labMissing()).toBeUndefined();
    host = await ParsHost.start();
    await host.configure('minimal');
    const file = host.lab.hostPath('etc/pars/pars.yaml');
    await writeFile(file, `${await readFile(file, 'utf8')}checkpoints:\n  keep_last: 2\n`);
    await host.installHook();
    guest = await host.boot({ memoryMiB: 256, disks: [{ fs: 'ext4', generate: 96 }] });
  });
  afterAll(() => host?.stop());

  const make = (): Promise<Made> => host.json<Made>('checkpoint', guest.name);

  async function listed(): Promise<Listed[]> {
    return (await host.json<{ checkpoints: Listed[] }>('checkpoints', guest.uuid)).checkpoints;
  }

  async function rollback(...words: string[]): Promise<void> {
    guest.console.disconnect();
    await host.pars('rollback', guest.name, ...words);
    await expectSound(guest);
  }

  test('are made while the guest runs, and it goes on; the oldest is given up with its objects', async () => {
    const made = [await make(), await make(), await make()];
    await expectSound(guest);
    expect(made.map(({ offloaded }) => offloaded.stub)).toEqual([true, true, true]);
    expect(made.map(({ deleted }) => deleted)).toEqual([[], [], [made[0]?.checkpoint]]);
    expect(await listed()).toMatchObject([
      { name: made[1]?.checkpoint, state: 'stub', stored: made[1]?.offloaded.snapshot },
      { name: made[2]?.checkpoint, state: 'stub', stored: made[2]?.offloaded.snapshot },
    ]);
    const { snapshots } = await host.json<{ snapshots: { snapshot: string }[] }>('list', guest.uuid);
    expect(snapshots.map(({ snapshot }) => snapshot)).toEqual(
      [made[1], made[2]].map((one) => one?.offloaded.snapshot),
    );
    expect(await readdir(host.lab.hostPath('var/lib/libvirt/pars-checkpoints'))).toHaveLength(2);
  });

  test('bring the guest back: to the newest, one without its parent, and when it is off', async () => {
    const [older, newest] = (await listed()).map(({ name }) => name);
    await rollback();
    await rollback(older ?? '');
    await guest.destroy();
    await rollback(newest ?? '');
    expect((await listed()).map(({ state }) => state)).toEqual(['stub', 'stub']);
  });

  test('leave the guest as it is when the store is away, and there is nothing to come back to', async () => {
    for (const nth of [0, 1, 2]) await host.unmount(nth);
    expect((await host.try('rollback', guest.name)).code).toBe(6);
    expect((await host.try('checkpoint', guest.name)).code).toBe(6);
    expect(await guest.state()).toBe('running');
    for (const nth of [0, 1, 2]) await host.mount(nth);
    expect(await listed()).toHaveLength(2);
    expect((await host.try('rollback', guest.name, 'none')).code).toBe(4);
    await expectSound(guest);
  });
});
