// SPDX-License-Identifier: Apache-2.0
/**
 * What `pars` stores it gives back to the byte: a guest of another kernel and machine than
 * test/integration/guest.test.ts has, with RAM above the PCI hole.
 */
import { execFile } from 'node:child_process';
import { constants, copyFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { labMissing } from '../support/lab.js';
import { ParsHost, bytesOnDisk, STUB_LIMIT } from '../support/pars-host.js';

const same = (a: string, b: string): Promise<unknown> => promisify(execFile)('cmp', [a, b]);

interface Report {
  guest: { introspected: boolean; kernel: string };
  ram: { pageSize: number; pages: number };
  classes: Record<string, { pages: number }>;
}

describe.skipIf(labMissing() !== undefined)('an image of more than 4 GiB of guest RAM', () => {
  let host: ParsHost;

  beforeAll(async () => {
    host = await ParsHost.start();
  });
  afterAll(() => host?.stop());

  test('comes back to the byte under pars, as a new file and in place', async () => {
    const guest = await host.boot({
      kernel: 'trixie',
      machine: 'q35',
      memoryMiB: 5120,
      vcpus: 2,
      cmdline: 'pars.fill=5',
    });
    const [image, original, restored] = ['x.save', 'x.original', 'x.restored'].map((name) =>
      join(host.lab.dir, name),
    ) as [string, string, string];
    await guest.save(image);
    copyFileSync(image, original, constants.COPYFILE_FICLONE);
    const report = await host.json<Report>('report', image);
    expect(report.guest).toMatchObject({ introspected: true, kernel: expect.stringMatching(/^6\.12/) });
    expect(report.ram.pages * report.ram.pageSize).toBeGreaterThan(4 * 2 ** 30);
    expect(report.classes['clean-cache']?.pages).toBeGreaterThan(20_000);

    const { snapshot } = await host.json<{ snapshot: string }>('offload', '--policy', 'pars', image);
    expect(await bytesOnDisk(image)).toBeLessThan(STUB_LIMIT);
    await host.pars('restore', snapshot, '--to', restored);
    await same(original, restored);
    const { ino } = await stat(image);
    await host.pars('hydrate', image);
    await same(original, image);
    expect((await stat(image)).ino).toBe(ino);
    await guest.restore(image);
    expect((await guest.check()).line).toMatch(/^PARS-CHECK ok/);
    await guest.destroy();
  });
});
