// SPDX-License-Identifier: Apache-2.0
/**
 * What a sysadmin decides from, on a real libvirt: doctor, plan, and a running guest beside the image saved
 * right after. Letters: issue 6, "Shown by".
 */
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Check } from '../../src/doctor/check.js';
import { PAGE_CLASSES } from '../../src/page-classes.js';
import type { Plan } from '../../src/report/plan.js';
import type { ImageReport } from '../../src/report/report.js';
import { labMissing, type Guest } from '../support/lab.js';
import { ParsHost } from '../support/pars-host.js';
import { schemaErrors } from '../support/schema.js';

const MEMORY_MIB = 320;

describe.skipIf(labMissing() !== undefined)('a host with a running guest', () => {
  let host: ParsHost;
  let guest: Guest;

  beforeAll(async () => {
    host = await ParsHost.start();
    guest = await host.boot({
      memoryMiB: MEMORY_MIB,
      cmdline: 'pars.fill=40',
      disks: [{ fs: 'ext4', generate: 160 }],
    });
  });
  afterAll(() => host?.stop());

  test('doctor tells a host with the hook from one without', async () => {
    const without = await host.try('doctor', '--json');
    expect(without.code).toBe(4);
    expect(outcome(without.stdout, 'hook')).toBe('failure');
    await host.installHook();
    const sound = await host.try('doctor', '--json');
    expect(sound.code, sound.stdout).toBe(0);
    for (const name of [
      'config',
      'host',
      'reader',
      'libvirt',
      'qemu',
      'save format',
      'hook',
      'hook live',
      'store writable',
    ])
      expect(outcome(sound.stdout, name), name).toBe('ok');
    await host.uninstallHook();
  });

  test(
    'a running guest is reported in place, an estimate; its counts and its size are those of the '
      + 'save right after, within drift',
    async () => {
      const { stdout } = await host.try('report', '--domain', guest.name, '--json');
      const running = JSON.parse(stdout) as ImageReport;
      expect(schemaErrors('report', running), stdout.slice(0, 400)).toEqual([]);
      expect(running, stdout.slice(0, 400)).toMatchObject({
        source: 'domain',
        estimated: true,
        guest: { introspected: true },
      });
      expect(await host.pars('report', '--domain', guest.name)).toMatch(
        /^estimate .*all figures are estimates/,
      );

      const plan = await host.json<Plan>('plan');
      expect(plan.fits).toEqual({ save: true, saveOneByOne: true, store: true });
      const small = await smallFileSystem(host);
      const refused = await host.try('plan', guest.name, '--save-dir', small);
      expect(refused.code).toBe(7);
      expect(refused.stdout).toMatch(/does not fit: [\d.]+ MiB of saves into [\d.]+ MiB free/);
      expect(await guest.state()).toBe('running');

      await guest.managedSave();
      const { size } = await stat(guest.hostImagePath);
      expect(Math.abs((plan.guests[0]?.peakBytes ?? 0) - size) / size).toBeLessThan(0.1);
      const saved = await host.json<ImageReport>('report', guest.imagePath);
      const pages = saved.ram.pages;
      expect(running.ram.pages).toBe(pages);
      for (const name of PAGE_CLASSES)
        expect(
          Math.abs(running.classes[name].pages - saved.classes[name].pages) / pages,
          `${name}: ${running.classes[name].pages} running, ${saved.classes[name].pages} saved`,
        ).toBeLessThan(0.02);
      expect(saved.classes['clean-cache'].pages / pages).toBeGreaterThan(0.2);
    },
  );

  test('explain names the file behind a page of the cache, and the rule', async () => {
    const report = await host.json<ImageReport>('report', guest.imagePath, '--map', '--top-files');
    expect(report.files?.[0]?.file).toMatchObject({
      fileSystem: 'ext4',
      path: expect.stringMatching(/^\/./) as string,
    });
    const gpa = firstOf(report, 'clean-cache');
    const text = await host.pars(
      'explain',
      guest.imagePath,
      '--page',
      `0x${gpa.toString(16)}-0x${(gpa + 4095).toString(16)}`,
    );
    expect(text).toMatch(/^class +clean-cache, expendable/m);
    expect(text).toMatch(/^because +it is clean, .*R8\)$/m);
    expect(text).toMatch(/^flags +.*uptodate.*lru/m);
    expect(text).toMatch(/^file +\/.*inode \d.*regular file, ext4 on vda$/m);
    expect((await host.try('explain', guest.imagePath, '--page', '0xfff0000000')).code).toBe(4);
  });
});

function outcome(json: string, name: string): string | undefined {
  return (JSON.parse(json) as { checks: Check[] }).checks.find((check) => check.name === name)?.outcome;
}

/** Where a save of the guest cannot fit, inside the lab. */
async function smallFileSystem(host: ParsHost): Promise<string> {
  const path = join(host.lab.dir, 'small');
  await mkdir(path);
  const { code, stderr } = await host.lab.exec('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'small', path]);
  if (code !== 0) throw new Error(stderr);
  return path;
}

/**
 * An address in the middle of the longest stretch of a class: its cells may have a page or two of another.
 */
function firstOf({ map }: ImageReport, wanted: string): number {
  let best = { cells: 0, gpa: 0 };
  for (const { gpa, runs } of map?.segments ?? []) {
    let at = gpa;
    for (const [name, cells] of runs) {
      if (name === wanted && cells > best.cells)
        best = { cells, gpa: at + Math.floor(cells / 2) * (map?.cellPages ?? 1) * 4096 };
      at += cells * (map?.cellPages ?? 1) * 4096;
    }
  }
  return best.gpa;
}
