// SPDX-License-Identifier: Apache-2.0
/**
 * Guests in which another kernel has taken over from one that left its memory behind, whole and without a
 * contradiction: what is believed must be the one that runs (R2). Each loses all that is called expendable,
 * and must not miss it. PARS_WHOLE=1 adds those that are saved again and again.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { expectSound } from '../support/guest-judge.js';
import { labMissing, labScript, type Guest, type Suite } from '../support/lab.js';
import { expendablePages, judge, loseAll } from '../support/loss-judge.js';
import { ParsHost } from '../support/pars-host.js';
import { saveStorm } from '../support/save-storm.js';
import { WHOLE } from '../support/whole.js';

describe.skipIf(labMissing() !== undefined)('a guest in which another kernel runs than did before', () => {
  let host: ParsHost;
  let guest: Guest;

  beforeAll(async () => {
    host = await ParsHost.start();
  });
  afterAll(() => host?.stop());
  afterEach(async () => {
    await guest.destroy().catch(() => undefined);
    await host.lab.virsh('undefine', guest.uuid).catch(() => undefined);
  });

  /** A guest whose first disk holds a kernel that it can start. */
  async function withKernelOnDisk(kernel: Suite, memoryMiB: number, cmdline: string): Promise<void> {
    const from = await labScript('boot-disk', kernel);
    guest = await host.boot({
      kernel,
      memoryMiB,
      cmdline,
      disks: [{ fs: 'ext4', from, limit: 200, generate: 24 }],
    });
  }

  test.runIf(WHOLE)(
    'rebooted at the same addresses, and saved all along the way, loses nothing that it needs',
    async () => {
      guest = await host.boot({
        kernel: 'trixie',
        memoryMiB: 192,
        cmdline: 'nokaslr pars.fill=30',
        disks: [{ fs: 'ext4', generate: 64 }],
      });
      await guest.send('reboot');
      const storm = await saveStorm(host, guest, 1, 25);
      console.log(storm);
      expect(storm.saves).toBeGreaterThan(3);
      await guest.waitConsole(/^PARS-READY/, 300_000);
      expect(expendablePages(await loseAll(host, guest))).toBeGreaterThan(10_000);
      await expectSound(guest);
    },
  );

  test('crashed into its kdump kernel is that kernel, and memory of the dead one is critical', async () => {
    // The kernel begins wherever chance puts it: beside one in the middle of less there would be no 192 MiB
    // in one piece.
    await withKernelOnDisk('bookworm', 576, 'crashkernel=192M pars.fill=20');
    expect((await guest.ask('kdump')).line).toMatch(/^PARS-KDUMP ok/);
    await guest.send('crash');
    await guest.waitConsole(/Kernel panic/);
    await guest.waitConsole(/^PARS-READY/, 300_000);
    const report = await loseAll(host, guest);
    expect(report.guest).toMatchObject({ introspected: true, reason: null });
    expect(expendablePages(report)).toBeGreaterThan(1000);
    expect(expendablePages(report)).toBeLessThan((192 << 20) / 4096);
    await expectSound(guest);
  });

  test('rebooted elsewhere is the kernel that runs now', async () => {
    guest = await host.boot({
      memoryMiB: 256,
      cmdline: 'pars.fill=40',
      disks: [{ fs: 'ext4', generate: 96 }],
    });
    await guest.send('reboot');
    await guest.waitConsole(/^PARS-READY/, 300_000);
    expect((await loseAll(host, guest)).guest).toMatchObject({ introspected: true });
    await expectSound(guest);
  });

  test.runIf(WHOLE)('in early boot, saved all along the way, comes up whole', async () => {
    guest = await host.lab.defineGuest({
      kernel: 'sid',
      memoryMiB: 192,
      cmdline: 'pars.fill=30',
      disks: [{ fs: 'ext4', generate: 64 }],
    });
    await guest.start();
    console.log(await saveStorm(host, guest, 0, 40));
    await guest.waitConsole(/^PARS-READY/, 300_000);
    expect((await loseAll(host, guest)).guest).toMatchObject({ introspected: true });
    await expectSound(guest);
  });

  test.runIf(WHOLE)('that has started another kernel itself is that kernel', async () => {
    await withKernelOnDisk('bookworm', 384, 'pars.fill=20');
    await guest.send('kexec');
    await guest.waitConsole(/^PARS-READY/, 300_000);
    expect((await loseAll(host, guest)).guest).toMatchObject({ introspected: true });
    await expectSound(guest);
  });

  test.runIf(WHOLE)('crashed, with nothing after it, is judged all the same', async () => {
    guest = await host.boot({
      memoryMiB: 256,
      cmdline: 'pars.fill=30',
      disks: [{ fs: 'ext4', generate: 64 }],
    });
    await guest.send('crash');
    await guest.waitConsole(/Kernel panic/);
    const { guest: said } = await judge(host, guest);
    console.log(said);
    expect(said.introspected || (said.reason ?? '') !== '').toBe(true);
  });
});
