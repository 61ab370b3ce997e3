// SPDX-License-Identifier: Apache-2.0
/**
 * Starts that fail for a reason of their own, after the hook has refilled the stub: nothing is stored anew,
 * and the image becomes the stub of the same snapshot again.
 */
import { execFileSync } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Guest, labMissing } from '../support/lab.js';
import { ParsHost } from '../support/pars-host.js';

const STARTS = 5;

describe.skipIf(labMissing() !== undefined)('a guest whose start fails for its own reason', () => {
  let host: ParsHost;
  let guest: Guest;
  let needed: string;

  beforeAll(async () => {
    host = await ParsHost.start();
    await host.installHook();
    await host.lab.restartLibvirtd();
    needed = join(host.lab.dir, 'needed');
    await mkdir(needed);
    guest = await host.boot({
      memoryMiB: 192,
      cmdline: 'pars.fill=40',
      disks: [{ fs: 'ext4', generate: 64 }],
      elements: `<devices><parallel type='file'><source path='${needed}/log'/></parallel></devices>`,
    });
    await guest.managedSave();
    await host.untilStub(guest.hostImagePath);
  });
  afterAll(() => host?.stop());

  function storedBytes(): number {
    const sizes = host.disks.map((disk) => execFileSync('du', ['-sb', disk], { encoding: 'utf8' }));
    return sizes.reduce((sum, line) => sum + Number(line.split('\t')[0]), 0);
  }

  interface Listed {
    snapshots: { snapshot: string; state: string }[];
  }

  it(`costs nothing in the store, ${STARTS} times`, async () => {
    const { snapshots: before } = await host.json<Listed>('list');
    const bytes = storedBytes();
    await rm(needed, { recursive: true });
    for (let start = 1; start <= STARTS; start++) {
      await expect(guest.start(), `start ${start}`).rejects.toThrow(/needed/);
      await host.untilStub(guest.hostImagePath);
    }
    const { snapshots: after } = await host.json<Listed>('list');
    expect(after.map(({ snapshot }) => snapshot)).toEqual(before.map(({ snapshot }) => snapshot));
    expect(storedBytes() - bytes).toBeLessThan(4096);
    expect(await host.try('status')).toMatchObject({ code: 0 });
  });

  it('is resumed as it was once the reason is gone', async () => {
    await mkdir(needed);
    await guest.start();
    expect((await guest.check()).line).toMatch(/ok/);
  });
});
