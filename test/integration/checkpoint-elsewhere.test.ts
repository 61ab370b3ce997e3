// SPDX-License-Identifier: Apache-2.0
/**
 * A host dies, and its guest goes on from the last checkpoint on another host that has the same disks.
 * libvirt before 9.9 makes no checkpoints that it could revert to.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectSound } from '../support/guest-judge.js';
import { labMissing, libvirtVersion, type Guest } from '../support/lab.js';
import { ParsHost } from '../support/pars-host.js';

const REVERTS_SINCE = 9010;

describe.skipIf(libvirtVersion() < REVERTS_SINCE)('the last checkpoint of a host that died', () => {
  let a: ParsHost;
  let b: ParsHost;
  let guest: Guest;
  let newest: string;

  beforeAll(async () => {
    expect(labMissing()).toBeUndefined();
    a = await ParsHost.start();
    b = await ParsHost.start({ beside: a });
    for (const host of [a, b]) {
      await host.configure('minimal\ndisk_references: auto');
      await host.installHook();
    }
    guest = await a.boot({ memoryMiB: 256, disks: [{ fs: 'ext4', generate: 96 }] });
    const make = async (): Promise<string> =>
      (await a.json<{ offloaded: { snapshot: string } }>('checkpoint', guest.name)).offloaded.snapshot;
    await make();
    newest = await make();
    await expectSound(guest);
    guest.console.disconnect();
    await a.powerCut();
  });
  afterAll(async () => {
    await b?.stop();
    await a?.stop();
  });

  test('is found by the other host, which knows whose it is', async () => {
    const list = await b.pars('list', guest.uuid);
    expect(list).toContain(newest);
    expect(list).toContain('foreign');
  });

  test('resumes there with the disks that it froze, and not on the first host as well', async () => {
    await b.pars('restore', newest, '--define');
    await b.lab.virsh('start', guest.uuid);
    expect(await b.lab.virsh('domstate', guest.uuid)).toBe('running');
    await expectSound(guest);
    const rollback = await a.try('rollback', guest.name);
    expect(rollback.code, rollback.stderr).toBe(3);
    expect(await a.lab.virsh('domstate', guest.uuid)).toBe('shut off');
  });

  test('is resumed once: its disks have moved on', async () => {
    await b.lab.virsh('destroy', guest.uuid);
    await b.lab.virsh('undefine', guest.uuid);
    expect(await b.try('restore', newest, '--define')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('are not here as they were') as string,
    });
  });
});
