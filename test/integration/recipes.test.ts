// SPDX-License-Identifier: Apache-2.0
/**
 * Each recipe of recovery (docs/recipes.md) on a guest that has what it is for: every expendable
 * page is lost, and the guest, its disk included, is as it was; the same with the recipe left out harms it.
 * PARS_WHOLE=1 runs every kernel, not only those that stand for the others.
 */
import { copyFile, rm } from 'node:fs/promises';
import { constants } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { keptDisks } from '../support/kept-disks.js';
import { labMissing, type DiskSpec, type Guest, type Suite } from '../support/lab.js';
import { leaveOut, type LeftOut } from '../support/leave-out.js';
import { ParsHost } from '../support/pars-host.js';
import { WHOLE } from '../support/whole.js';

interface Proof {
  recipe: string;
  kernel: Suite;
  disk: Pick<DiskSpec, 'fs' | 'mkfs'>;
  leftOut: LeftOut;
  /** Its proof runs with every gate. */
  always?: true;
  cmdline?: string;
}

const KIB_BLOCKS = { fs: 'ext4', mkfs: '-b 1024' } as const;

const PROOFS: Proof[] = [
  { recipe: 'iomap-blocks', kernel: 'bookworm', disk: { fs: 'xfs' }, leftOut: 'private-state' },
  { recipe: 'iomap-blocks', kernel: 'trixie', disk: { fs: 'xfs' }, leftOut: 'private-state', always: true },
  { recipe: 'iomap-blocks', kernel: 'sid', disk: { fs: 'xfs' }, leftOut: 'private-state' },
  {
    recipe: 'iomap-blocks',
    kernel: 'trixie',
    disk: { fs: 'xfs', mkfs: '-b size=1024' },
    leftOut: 'private-state',
  },
  { recipe: 'buffer-heads', kernel: 'bullseye', disk: KIB_BLOCKS, leftOut: 'private-state' },
  { recipe: 'buffer-heads', kernel: 'bookworm', disk: KIB_BLOCKS, leftOut: 'private-state', always: true },
  { recipe: 'buffer-heads', kernel: 'trixie', disk: KIB_BLOCKS, leftOut: 'private-state' },
  { recipe: 'buffer-heads', kernel: 'sid', disk: KIB_BLOCKS, leftOut: 'private-state' },
  { recipe: 'btrfs-mark', kernel: 'bookworm', disk: { fs: 'btrfs' }, leftOut: 'everything' },
  { recipe: 'btrfs-mark', kernel: 'trixie', disk: { fs: 'btrfs' }, leftOut: 'everything' },
  { recipe: 'btrfs-mark', kernel: 'sid', disk: { fs: 'btrfs' }, leftOut: 'everything' },
  { recipe: 'btrfs-blocks', kernel: 'sid', disk: { fs: 'btrfs' }, leftOut: 'private-state', always: true },
];

interface Report {
  guest: { introspected: boolean; reason: string | null };
  reasons: { class: string; reason: string; pages: number }[];
}

/** What the guest writes and syncs before it is ready: 8 MiB, and this much of them may still be in use. */
const LEAST_PAGES = 1800;

describe.skipIf(labMissing() !== undefined)('a folio is forgotten by the recipe', () => {
  let host: ParsHost;
  let guest: Guest;

  beforeAll(async () => {
    host = await ParsHost.start();
  });
  afterAll(() => host?.stop());
  afterEach(() => guest.destroy().catch(() => undefined));

  const proofs = PROOFS.filter(({ always }) => always ?? WHOLE);
  test.each(proofs)('$recipe on $kernel, $disk', async ({ recipe, kernel, disk, leftOut, cmdline = '' }) => {
    const generate = 160;
    guest = await host.boot({
      kernel,
      memoryMiB: 320,
      cmdline: `pars.fill=40 pars.written=8 ${cmdline}`,
      disks: [{ ...disk, generate }],
    });
    const [image, original, restored] = ['x.save', 'x.original', 'x.restored'].map((name) =>
      join(host.lab.dir, name),
    ) as [string, string, string];
    await guest.save(image);
    const keepDisks = await keptDisks(guest);
    await copyFile(image, original, constants.COPYFILE_FICLONE);
    const report = await host.json<Report>('report', image);
    const pages = report.reasons
      .filter((of) => of.class === 'clean-cache' && of.reason === recipe)
      .reduce((sum, of) => sum + of.pages, 0);
    console.log(`${kernel} ${JSON.stringify(disk)}: ${pages} pages by ${recipe}`);
    expect(pages).toBeGreaterThan(LEAST_PAGES);

    const { snapshot } = await host.json<{ snapshot: string }>('offload', '--policy', 'minimal', image);
    await host.pars('restore', snapshot, '--to', restored);
    await copyFile(restored, image, constants.COPYFILE_FICLONE);
    expect(leaveOut(leftOut, original, restored)).toBeGreaterThan(0);
    await guest.restore(restored);
    expect((await guest.check()).line, 'the recipe left out').toMatch(/^PARS-CHECK FAIL/);
    await guest.destroy();

    await keepDisks();
    await guest.restore(image);
    expect((await guest.deep()).line, 'partial writes into lost pages').toMatch(/^PARS-DEEP ok/);
    expect((await guest.check()).line).toMatch(/^PARS-CHECK ok/);
    await Promise.all([image, original, restored].map((path) => rm(path)));
  });
});
