// SPDX-License-Identifier: Apache-2.0
/**
 * Guests in which no 64-bit Linux kernel is at work: each is critical as a whole, and the reason is said, in
 * bounded time.
 */
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { labMissing, labScript, type Guest } from '../support/lab.js';
import { expendablePages, judge, type Report } from '../support/loss-judge.js';
import { ParsHost } from '../support/pars-host.js';

describe.skipIf(labMissing() !== undefined)('a guest without a 64-bit Linux kernel', () => {
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

  function expectCritical(said: Report, reason: RegExp): void {
    expect(said.guest.introspected).toBe(false);
    expect(said.guest.reason).toMatch(reason);
    expect(expendablePages(said)).toBe(0);
  }

  test('in its firmware is critical', async () => {
    guest = await host.lab.defineGuest({ memoryMiB: 128 });
    await guest.start();
    expectCritical(await judge(host, guest), /no Linux kernel/);
  });

  test('that is memtest86+, with page tables of its own, is critical', async () => {
    guest = await host.lab.defineGuest({ memoryMiB: 128, boot: { kernel: await labScript('memtest') } });
    await guest.start();
    await untilPaging(guest);
    expectCritical(await judge(host, guest), /no Linux kernel/);
  });

  test('with a 32-bit kernel is critical', async () => {
    const kernel = join(await labScript('kernel', 'bookworm', 'i386'), 'vmlinuz');
    guest = await host.lab.defineGuest({
      memoryMiB: 192,
      boot: { kernel, initrd: await labScript('initrd-32') },
    });
    await guest.boot();
    expectCritical(await judge(host, guest), /swapper_pg_dir/);
  });
});

/** Firmware does not translate addresses; what comes after it does. */
async function untilPaging(guest: Guest, deadlineMs = 180_000): Promise<void> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const registers = await guest.lab.virsh('qemu-monitor-command', guest.uuid, '--hmp', 'info registers');
    if (parseInt(/CR0=([0-9a-f]+)/.exec(registers)?.[1] ?? '0', 16) & 0x80000000) return;
    if (Date.now() > end) throw new Error(`no page tables after ${deadlineMs} ms`);
  }
}
