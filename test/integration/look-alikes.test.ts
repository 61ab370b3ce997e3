// SPDX-License-Identifier: Apache-2.0
/**
 * Memory that looks like clean page cache and is not safe to lose, on a real guest: see lab/guest/held.c.
 * Each page bears a name, by which it is found in the image; what was stored is put back, and every named
 * page must be in it but the control's.
 */
import { closeSync, copyFileSync, constants, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ramRecords } from '../support/elf-core.js';
import { labMissing } from '../support/lab.js';
import { judge } from '../support/loss-judge.js';
import { ParsHost } from '../support/pars-host.js';

const PAGE = 4096;
/** Pages of each kind; twice as many where a copy in a file's cache and another in memory are both kept. */
const PAGES = 8;
const KINDS = [
  'ramfs',
  'tmpfs',
  'rootfs',
  'mlocked',
  'spliced',
  'vmspliced',
  'io_uring',
  'hugetlb',
  'thp',
  'secretmem',
  'ksm',
  'swapcache',
  'blockdev',
];

describe.skipIf(labMissing() !== undefined)('memory that looks like clean page cache', () => {
  let host: ParsHost;

  beforeAll(async () => {
    host = await ParsHost.start();
  });
  afterAll(() => host?.stop());

  test('is kept, of whatever kind; clean page cache of the same making is lost', async () => {
    const guest = await host.boot({
      memoryMiB: 256,
      cmdline: 'pars.fill=20 secretmem.enable=1',
      disks: [{ fs: 'ext4', generate: 64, size: 200, mkfs: '-b 4096' }],
    });
    expect((await guest.ask('hold')).line).toMatch(/^PARS-HOLD ok/);
    const [image, original, restored] = ['held.save', 'held.original', 'held.restored'].map((name) =>
      join(host.lab.dir, name),
    ) as [string, string, string];
    expect((await judge(host, guest, image)).guest).toMatchObject({ introspected: true });
    copyFileSync(image, original, constants.COPYFILE_FICLONE);
    const { snapshot } = await host.json<{ snapshot: string }>('offload', '--policy', 'minimal', image);
    await host.pars('restore', snapshot, '--to', restored);
    const held = compare(original, restored);
    console.log(JSON.stringify(held));
    expect(held['control']).toEqual({ kept: 0, lost: PAGES });
    for (const kind of KINDS) expect(held[kind], kind).toMatchObject({ kept: expect.any(Number), lost: 0 });
    for (const kind of KINDS) expect(held[kind]?.kept, kind).toBeGreaterThanOrEqual(PAGES);
    await host.pars('hydrate', image);
    await guest.restore(image);
    expect((await guest.check()).line).toMatch(/^PARS-CHECK ok/);
  });
});

/** Named pages of the original image by kind: those that the restored one has, and those that it has not. */
function compare(original: string, restored: string): Record<string, { kept: number; lost: number }> {
  const [from, into] = [openSync(original, 'r'), openSync(restored, 'r')];
  const [page, other] = [Buffer.alloc(PAGE), Buffer.alloc(PAGE)];
  const found: Record<string, { kept: number; lost: number }> = {};
  for (const record of ramRecords(from)) {
    if ('size' in record) continue;
    readSync(from, page, 0, PAGE, record.offset);
    const kind = /^PARS-HELD (\S+) \d+\0/.exec(page.toString('latin1', 0, 64))?.[1];
    if (kind === undefined) continue;
    readSync(into, other, 0, PAGE, record.offset);
    const counts = (found[kind] ??= { kept: 0, lost: 0 });
    if (page.equals(other)) counts.kept++;
    else counts.lost++;
  }
  closeSync(from);
  closeSync(into);
  return found;
}
