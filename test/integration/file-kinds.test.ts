// SPDX-License-Identifier: Apache-2.0
/**
 * Files that only their file system can tell from others, and that need not be told (R12): with data=journal
 * a clean folio is one that the journal has let go, and a reflinked one is read like any other. All is lost,
 * and the guest and its disk are as they were.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { labMissing, type Guest, type GuestOptions } from '../support/lab.js';
import { loseAll } from '../support/loss-judge.js';
import { ParsHost } from '../support/pars-host.js';

interface Kind {
  kind: string;
  options: GuestOptions;
  /** Clean pages that may be critical. */
  doubtful?: number;
}

/** What was written last, 12 MiB: the journal may hold it yet. */
const IN_JOURNAL = (12 << 20) / 4096;

const KINDS: Kind[] = [
  {
    kind: 'ext4 with data=journal',
    doubtful: IN_JOURNAL,
    options: {
      kernel: 'bookworm',
      disks: [{ fs: 'ext4', generate: 96, mkfs: '-b 4096' }],
      cmdline: 'pars.fill=40 pars.mount.vda=data=journal pars.written=12',
    },
  },
  {
    kind: 'reflinked files of XFS',
    options: {
      kernel: 'trixie',
      disks: [{ fs: 'xfs', generate: 96 }],
      cmdline: 'pars.fill=40 pars.clones=12',
    },
  },
];

describe.skipIf(labMissing() !== undefined)('a kind of file that is not told apart', () => {
  let host: ParsHost;
  let guest: Guest;

  beforeAll(async () => {
    host = await ParsHost.start();
  });
  afterAll(() => host?.stop());
  afterEach(() => guest.destroy().catch(() => undefined));

  test.each(KINDS)(
    '$kind is whole after a loss, and after writes into what was lost',
    async ({ options, doubtful = 0 }) => {
      guest = await host.boot({ memoryMiB: 256, ...options });
      const { clean } = await guest.pageCounts();
      const report = await loseAll(host, guest);
      expect(report.guest).toMatchObject({ introspected: true });
      expect(report.classes['clean-cache']?.pages).toBeGreaterThan(0.99 * (clean - doubtful));
      expect((await guest.deep()).line).toMatch(/^PARS-DEEP ok/);
      expect((await guest.check()).line).toMatch(/^PARS-CHECK ok/);
    },
  );
});
