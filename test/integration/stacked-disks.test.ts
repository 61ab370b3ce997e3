// SPDX-License-Identifier: Apache-2.0
/**
 * Disks that stand on others (R13), as LVM, LUKS, mdadm and losetup make them: see lab/guest/stack.c. All
 * that was cached of files on them is lost, and the guest and its disks are as they were; with the recovery
 * left out the guest notices. What a process of the guest serves, and what was taken away, is kept.
 * PARS_WHOLE=1 runs every kernel that tells its drivers' types.
 */
import { constants } from 'node:fs';
import { copyFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { keptDisks } from '../support/kept-disks.js';
import { labMissing, type DiskSpec, type Guest, type Suite } from '../support/lab.js';
import { leaveOut } from '../support/leave-out.js';
import { judge, loseAll, type Report } from '../support/loss-judge.js';
import { ParsHost } from '../support/pars-host.js';
import { WHOLE } from '../support/whole.js';

const KERNELS: Suite[] = WHOLE ? ['bookworm', 'trixie', 'sid'] : ['trixie'];
const KINDS = 'linear,striped,crypt,origin,thin,lvmraid,raid0,raid1,raid10,raid5,loop';

/** MiB of files on each disk, and pages of them. */
const GENERATED = 24;
const PAGES = (GENERATED << 20) / 4096;

/** What is copied onto each disk, what they are cut from, and what holds a loop device's file. */
const DISKS: DiskSpec[] = [
  { fs: 'ext4', generate: GENERATED, size: 40, mkfs: '-b 4096' },
  { fs: 'blank', size: 700 },
  { fs: 'ext4', size: 64, mkfs: '-b 4096' },
];

function pagesOf({ reasons }: Report, ...wanted: string[]): number {
  return reasons.filter(({ reason }) => wanted.includes(reason)).reduce((sum, { pages }) => sum + pages, 0);
}

describe.skipIf(labMissing() !== undefined)('a disk that stands on others', () => {
  let host: ParsHost;
  let guest: Guest;

  beforeAll(async () => {
    host = await ParsHost.start();
  });
  afterAll(() => host?.stop());
  afterEach(() => guest.destroy().catch(() => undefined));

  test.each(KERNELS)('loses its clean cache and reads it again, on %s', async (kernel) => {
    const cmdline = `pars.files=all pars.maps=1 pars.stack=${KINDS}`;
    guest = await host.boot({ kernel, memoryMiB: 640, cmdline, disks: DISKS });
    const { clean } = await guest.pageCounts();
    const image = join(host.lab.dir, 'stacked.save');
    const [original, restored] = [`${image}.original`, `${image}.restored`];
    const report = await judge(host, guest, image);
    const expendable = report.classes['clean-cache']?.pages ?? 0;
    console.log(`${kernel}: ${expendable} of ${clean} clean pages`);
    expect(report.guest).toMatchObject({ introspected: true });
    expect(pagesOf(report, 'disk', 'disk-stack', 'disk-gone')).toBe(0);
    expect(expendable).toBeGreaterThan(0.95 * (clean - pagesOf(report, 'not-regular')));

    const keepDisks = await keptDisks(guest);
    await copyFile(image, original, constants.COPYFILE_FICLONE);
    const { snapshot } = await host.json<{ snapshot: string }>('offload', '--policy', 'minimal', image);
    await host.pars('restore', snapshot, '--to', restored);
    await copyFile(restored, image, constants.COPYFILE_FICLONE);
    expect(leaveOut('everything', original, restored)).toBeGreaterThan(0);
    await guest.restore(restored);
    expect((await guest.check()).line, 'the recovery left out').toMatch(/^PARS-CHECK FAIL/);
    await guest.destroy();

    await keepDisks();
    await guest.restore(image);
    expect((await guest.deep()).line, 'partial writes into lost pages').toMatch(/^PARS-DEEP ok/);
    expect((await guest.check()).line).toMatch(/^PARS-CHECK ok/);
    await Promise.all([image, original, restored].map((path) => rm(path)));
  });

  test('keeps what a process of the guest serves', async () => {
    const cmdline = 'pars.files=all pars.maps=0 pars.stack=linear,nbd';
    guest = await host.boot({ kernel: 'trixie', memoryMiB: 256, cmdline, disks: DISKS.slice(0, 2) });
    const report = await loseAll(host, guest);
    expect(pagesOf(report, 'disk')).toBeGreaterThanOrEqual(0.95 * PAGES);
    expect(report.classes['clean-cache']?.pages).toBeGreaterThanOrEqual(0.95 * PAGES);
    expect((await guest.deep()).line).toMatch(/^PARS-DEEP ok/);
    expect((await guest.check()).line).toMatch(/^PARS-CHECK ok/);
  });

  test.runIf(WHOLE)('keeps what was cached of a disk that was taken away', async () => {
    const disks: DiskSpec[] = [1, 2].map((seed) => ({ ...DISKS[0]!, seed }));
    guest = await host.boot({
      kernel: 'bookworm',
      memoryMiB: 256,
      cmdline: 'pars.files=all pars.maps=0 pars.written=0',
      disks,
    });
    expect((await guest.ask('keep')).line).toMatch(/^PARS-KEEP ok/);
    await takeAway(guest, 'vdb');
    const report = await loseAll(host, guest);
    expect(pagesOf(report, 'disk-gone')).toBeGreaterThanOrEqual(0.9 * PAGES);
    expect(report.classes['clean-cache']?.pages).toBeGreaterThanOrEqual(0.95 * PAGES);
    // Files come first: only the kernel's own complaints about the disk are left to find.
    expect((await guest.check()).line).toMatch(/^PARS-CHECK (ok|FAIL kernel log:)/);
  });
});

/** Detaches a disk and waits until the guest has let it go. */
async function takeAway(guest: Guest, target: string, deadlineMs = 120_000): Promise<void> {
  const end = Date.now() + deadlineMs;
  await guest.lab.virsh('detach-disk', guest.uuid, target, '--live');
  while ((await guest.lab.virsh('domblklist', guest.uuid)).includes(target)) {
    if (Date.now() > end) throw new Error(`the guest does not let go of ${target}`);
    await guest.ask('kernel'); // its console answers while it works
  }
}
