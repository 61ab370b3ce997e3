// SPDX-License-Identifier: Apache-2.0
/**
 * Guests whose memory libvirt saves through a compressor (save_image_format): offloaded, woken with all
 * expendable pages lost, and not woken without the hook.
 */
import { copyFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ImageReport } from '../../src/report/report.js';
import { rawImage } from '../support/compressed.js';
import {
  expectNoStartWithoutHook,
  expectSound,
  expectStartsWithout,
  fingerprint,
  lostCachePages,
} from '../support/guest-judge.js';
import { labMissing, libvirtVersion, type Guest } from '../support/lab.js';
import { bytesOnDisk, ParsHost, STUB_LIMIT } from '../support/pars-host.js';

const MEMORY_MIB = 256;

/**
 * One by default, the others with PARS_SAVE_FORMATS=all: test/unit/compressed.test.ts has all five. zstd came
 * with libvirt 10.4: Debian 13 has that (scripts/suite).
 */
const OTHERS = process.env['PARS_SAVE_FORMATS'] === 'all' ? (['lzop', 'xz', 'bzip2'] as const) : [];
const FORMATS = ['gzip' as const, ...(libvirtVersion() >= 10_004 ? ['zstd' as const] : []), ...OTHERS];
/** Later ones are known to read a compressed save first, or may. */
const ASKS_FIRST = libvirtVersion() <= 11_003;

describe.skipIf(labMissing() !== undefined || ASKS_FIRST)('a libvirt that reads first', () => {
  test('has compressed saves left whole, without a failure', async () => {
    const host = await ParsHost.start({ lab: { saveFormat: 'zstd' } });
    try {
      await host.installHook();
      const guest = await host.boot({ memoryMiB: MEMORY_MIB, disks: [{ fs: 'ext4', generate: 128 }] });
      await guest.managedSave();
      expect((await host.try('offload', guest.imagePath)).stderr).toMatch(/before it calls the hook/);
      expect(await host.try('status')).toMatchObject({ code: 0 });
      await guest.start();
      await expectSound(guest);
    } finally {
      await host.stop();
    }
  });
});

describe.skipIf(labMissing() !== undefined || !ASKS_FIRST).each(FORMATS)(
  'with save_image_format = "%s"',
  (saveFormat) => {
    let host: ParsHost;
    let guest: Guest;

    beforeAll(async () => {
      host = await ParsHost.start({ lab: { saveFormat } });
      await host.installHook();
      await host.configure('minimal');
      guest = await host.boot({ memoryMiB: MEMORY_MIB, disks: [{ fs: 'ext4', generate: 128 }] });
    });
    afterAll(() => host?.stop());

    test('a guest is saved, becomes a stub, and wakes without its clean page cache', async () => {
      await guest.managedSave();
      await host.untilStub(guest.hostImagePath);
      const lost = await lostCachePages(host, guest);
      expect(lost).toBeGreaterThan(10_000);
      const report = await host.json<ImageReport>('report', guest.imagePath);
      expect(report.image).toMatchObject({ format: saveFormat, rawBytes: expect.any(Number) });
      const before = await fingerprint(guest.hostImagePath);
      // libvirt tells of its helper that was ended, not why.
      await expect(guest.start('--bypass-cache')).rejects.toThrow(/start/);
      expect((await host.try('status')).stdout).toContain('too late to refill it now');
      expect(await fingerprint(guest.hostImagePath)).toEqual(before);
      await expectNoStartWithoutHook(host, guest);
      await expectStartsWithout(lost, guest);
    });

    test('saved to any path and offloaded by hand, it gets its very stream back', async () => {
      const image = join(host.lab.dir, 'any where.save'),
        original = join(host.lab.dir, 'original');
      await guest.save(image);
      await copyFile(image, original);
      const { ino, size } = await stat(image);
      await host.pars('offload', '--policy', 'pars', image);
      expect(await stat(image)).toMatchObject({ ino, size });
      expect(await bytesOnDisk(image)).toBeLessThan(STUB_LIMIT);
      await host.pars('hydrate', image);
      expect((await stat(image)).ino).toBe(ino);
      expect(rawImage(image)?.equals(rawImage(original) ?? Buffer.alloc(0))).toBe(true);
      await rm(original);
      await guest.restore(image);
      await expectSound(guest);
      await guest.destroy();
    });
  },
);
