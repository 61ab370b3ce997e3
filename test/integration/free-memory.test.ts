// SPDX-License-Identifier: Apache-2.0
/**
 * Kernels that look at what their free pages hold: what was free comes back as they left it, or as zeros
 * where they expect zeros.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { expectSound } from '../support/guest-judge.js';
import { labMissing, type Guest } from '../support/lab.js';
import { loseAll } from '../support/loss-judge.js';
import { ParsHost } from '../support/pars-host.js';

describe.skipIf(labMissing() !== undefined)('a kernel that looks into free pages', () => {
  let host: ParsHost;
  let guest: Guest;

  beforeAll(async () => {
    host = await ParsHost.start();
  });
  afterAll(() => host?.stop());
  afterEach(() => guest.destroy().catch(() => undefined));

  test.each(['init_on_free=1', 'page_poison=1'])('finds no corruption when all is lost: %s', async (word) => {
    guest = await host.boot({
      kernel: 'trixie',
      memoryMiB: 256,
      cmdline: `pars.fill=30 ${word}`,
      disks: [{ fs: 'ext4', generate: 96 }],
    });
    const report = await loseAll(host, guest);
    expect(report.guest).toMatchObject({ introspected: true });
    expect(report.classes['free']?.pages).toBeGreaterThan(5000);
    await guest.ask('fill 90'); // takes what was free
    await expectSound(guest);
  });
});
