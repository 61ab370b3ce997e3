// SPDX-License-Identifier: Apache-2.0
/**
 * What the report estimates beside what an offload then stores, on images of four real guests: within 5 %.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PAGE_CLASSES, type PageClass } from '../../src/page-classes.js';
import type { ImageReport } from '../../src/report/report.js';
import { type GuestOptions, labMissing } from '../support/lab.js';
import { ParsHost } from '../support/pars-host.js';

const WITHOUT_DISKS = '\ndisk_references: off';

/** [what, policy, guest]. */
const GUESTS: [string, string, GuestOptions][] = [
  ['bookworm, ext4', `lean${WITHOUT_DISKS}`, {}],
  [
    'trixie, system files on a raw disk that keeps them',
    'lean',
    { kernel: 'trixie', memoryMiB: 768, disks: [{ fs: 'ext4', from: '/usr', limit: 480, format: 'raw' }] },
  ],
  [
    'bookworm, system files, every copy',
    `replicate-all${WITHOUT_DISKS}`,
    { memoryMiB: 640, disks: [{ fs: 'ext4', from: '/usr', limit: 400, format: 'raw' }] },
  ],
  ['trixie, xfs', `pars${WITHOUT_DISKS}`, { kernel: 'trixie', disks: [{ fs: 'xfs', generate: 320 }] }],
];

interface Offloaded {
  storedBytes: number;
  classes: Record<PageClass, number>;
}

describe.skipIf(labMissing() !== undefined)('what the report estimates', () => {
  let host: ParsHost;

  beforeAll(async () => {
    host = await ParsHost.start();
  });
  afterAll(() => host?.stop());

  test.each(GUESTS)('%s', async (what, policy, options) => {
    await host.configure(policy);
    const guest = await host.boot(options);
    await guest.managedSave();
    const report = await host.json<ImageReport>('report', guest.imagePath);
    const { storedBytes, ...rest } = await host.json<Offloaded>('offload', guest.imagePath);
    const estimated = report.policies[report.policy]?.estimatedCompressedBytes ?? NaN;
    const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
    console.log(
      `${what}: estimated ${mib(estimated)} MiB, stored ${mib(storedBytes)} MiB, `
        + `${(100 * (estimated / storedBytes - 1)).toFixed(1)} %`,
      process.env['PARS_DEBUG']
        ? [JSON.stringify(rest), JSON.stringify(report.classes), JSON.stringify(report.skeleton)]
        : '',
    );
    expect(Math.abs(estimated / storedBytes - 1)).toBeLessThan(0.05);
    expect(PAGE_CLASSES.filter((name) => report.classes[name].pages > 0).length).toBeGreaterThan(6);
  });
});
