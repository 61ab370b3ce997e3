// SPDX-License-Identifier: Apache-2.0
/**
 * Two hosts on one store, each with a libvirtd, state and machine-id of its own: whose a guest is, and that
 * it runs once (R25, R27).
 */
import { copyFile, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { expectSound } from '../support/guest-judge.js';
import { labMissing, type Guest } from '../support/lab.js';
import { ParsHost, STUB_LIMIT, bytesOnDisk } from '../support/pars-host.js';

describe.skipIf(labMissing() !== undefined)('a guest of two hosts', () => {
  let a: ParsHost;
  let b: ParsHost;
  let guest: Guest;
  let snapshot: string;
  let disk: string;

  beforeAll(async () => {
    a = await ParsHost.start();
    b = await ParsHost.start({ beside: a });
    for (const host of [a, b]) await host.installHook();
    guest = await a.boot({ memoryMiB: 192, cmdline: 'pars.fill=40', disks: [{ fs: 'ext4', generate: 96 }] });
    await guest.managedSave();
    await a.untilStub(guest.hostImagePath);
    snapshot = await a.snapshotOf(guest);
    disk = (await a.json<{ manifest: Manifest }>('show', snapshot)).manifest.disks[0]?.source ?? '';
  });
  afterAll(async () => {
    await b?.stop();
    await a?.stop();
  });

  const imageOn = (host: ParsHost): string => host.lab.hostPath(guest.imagePath);

  async function expectSoundOn(host: ParsHost): Promise<void> {
    expect(await host.lab.virsh('domstate', guest.uuid)).toBe('running');
    await expectSound(guest);
  }

  /**
   * Saves on one host; the other has a stub of its own of the same snapshot, and the guest is defined on
   * both.
   */
  async function copyStub(from: ParsHost, to: ParsHost): Promise<void> {
    const xml = await from.lab.virsh('dumpxml', '--inactive', guest.uuid);
    const file = join(to.lab.dir, 'copied.xml');
    await writeFile(file, xml);
    await to.lab.virsh('define', file);
    await to.lab.exec('cp', ['--sparse=always', imageOn(from), guest.imagePath]);
  }

  /** Why the guest did not start there; empty if it did. */
  const startOn = (host: ParsHost): Promise<string> =>
    host.lab.virsh('start', guest.uuid).then(() => '', String);

  test("the other's snapshot is shown as foreign, and is not removed or pruned", async () => {
    expect(await b.pars('list')).toContain('foreign');
    const refusal = await b.try('rm', snapshot);
    expect(refusal).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('belongs to another host') as string,
    });
    await b.pars('prune', '--yes');
    expect(await a.snapshotOf(guest)).toBe(snapshot);
  });

  test('of two that start copies of one stub at once one wins, and the other is told why', async () => {
    await copyStub(a, b);
    const [startedA, startedB] = await Promise.all([a, b].map(startOn));
    expect([startedA === '', startedB === ''].sort(), `a: ${startedA}, b: ${startedB}`).toEqual([
      false,
      true,
    ]);
    const [winner, loser] = startedA === '' ? [a, b] : [b, a];
    // Who comes so late that the guest runs already is told of that, or of its disk, instead of the claim.
    expect(`${startedA}${startedB}`).toMatch(
      /claimed by another host|has been started since|disks are not what they were/,
    );
    expect(await bytesOnDisk(imageOn(loser)), 'the stub of the one that lost stays').toBeLessThan(STUB_LIMIT);
    await expectSoundOn(winner);
    await winner.pars('prune');
    expect(
      await loser.try('takeover', snapshot),
      'its guest was started, so its disk has moved on (R25)',
    ).toMatchObject({ code: 3 });
    await rm(imageOn(loser));
    await loser.lab.virsh('undefine', guest.uuid, '--managed-save');
    // What follows begins on host a.
    if (winner === b) [a, b] = [b, a];
  });

  test('comes to a host that never saw it, its disk elsewhere, and is not woken where it was', async () => {
    guest.console.disconnect();
    await a.lab.virsh('managedsave', guest.uuid);
    await a.untilStub(imageOn(a));
    snapshot = await a.snapshotOf(guest);
    const moved = join(b.lab.dir, 'disks', 'moved.qcow2');
    expect(await b.try('restore', snapshot, '--define', '--set-disk', `vda=${moved}`)).toMatchObject({
      code: 3,
      stderr: expect.stringContaining(`vda (${moved}) is not there`) as string,
    });
    await copyFile(disk, moved);
    await b.pars('restore', snapshot, '--define', '--set-disk', `vda=${moved}`);
    expect(await b.try('restore', snapshot, '--define')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('knows the guest') as string,
    });
    await expect(a.lab.virsh('start', guest.uuid)).rejects.toThrow(/claimed by another host/);
    await b.lab.virsh('start', guest.uuid);
    await expectSoundOn(b);
    expect(await b.lab.virsh('domblklist', guest.uuid)).toContain(moved);
    expect(
      await a.try('hydrate', imageOn(a)),
      'it was consumed there, once that host has said so',
    ).toMatchObject({ code: 3 });
  });

  test('goes over by pars takeover, and back by nothing else', async () => {
    guest.console.disconnect();
    await b.lab.virsh('managedsave', guest.uuid);
    await b.untilStub(imageOn(b));
    snapshot = await b.snapshotOf(guest);
    await rm(imageOn(a));
    await a.lab.virsh('undefine', guest.uuid, '--managed-save');
    await copyStub(b, a);
    await a.pars('takeover', snapshot);
    expect(await b.try('rm', snapshot, '--force'), "it is the other's now").toMatchObject({ code: 3 });
    await expect(b.lab.virsh('start', guest.uuid)).rejects.toThrow(/claimed by another host/);
    await a.lab.virsh('start', guest.uuid);
    await expectSoundOn(a);
    expect(await readFile(imageOn(b)).then(({ length }) => length)).toBeGreaterThan(0);
  });
});
