// SPDX-License-Identifier: Apache-2.0
/**
 * R11: a write-back that failed leaves clean pages that are newer than the disk. The guest's disk has no room
 * left on its host.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { labMissing, type DiskSpec } from '../support/lab.js';
import { loseAll } from '../support/loss-judge.js';
import { ParsHost } from '../support/pars-host.js';

const WRITTEN_MIB = 32;

describe.skipIf(labMissing() !== undefined)('a file of which a write-back failed', () => {
  let host: ParsHost;

  beforeAll(async () => {
    host = await ParsHost.start();
  });
  afterAll(() => host?.stop());

  test('keeps all its pages, and reads as it was written', async () => {
    const disks: DiskSpec[] = [{ fs: 'ext4', generate: 48, size: 200, mkfs: '-b 4096', room: 12 }];
    const guest = await host.boot({ memoryMiB: 256, cmdline: 'pars.fill=20 pars.written=1', disks });
    await guest.ask(`dirty ${WRITTEN_MIB}`);
    await guest.ask('sync');
    const report = await loseAll(host, guest);
    const pages = (reason: string): number =>
      report.reasons.filter((of) => of.reason === reason).reduce((sum, of) => sum + of.pages, 0);
    expect(report.guest).toMatchObject({ introspected: true });
    expect(pages('write-back-error')).toBeGreaterThan(1000);
    // Where a kernel has PG_error, that is met first.
    expect(pages('write-back-error') + pages('busy-flags')).toBeGreaterThanOrEqual(
      (WRITTEN_MIB << 20) / 4096,
    );
    // Files come first: only the kernel's own complaints about the disk are left to find.
    expect((await guest.check()).line).toMatch(/^PARS-CHECK FAIL kernel log: .*(I\/O error|EXT4-fs)/);
  });
});
