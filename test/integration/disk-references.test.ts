// SPDX-License-Identifier: Apache-2.0
/**
 * What the guest's own disk holds is not stored again: real guests on a raw disk, whose memory must come back
 * byte for byte, and whose disk is changed under them.
 */
import { execFile } from 'node:child_process';
import { copyFile, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Manifest } from '../../src/snapshot/manifest.js';
import type { PageClass } from '../../src/page-classes.js';
import { expectSound } from '../support/guest-judge.js';
import { labMissing, type Guest } from '../support/lab.js';
import { ParsHost } from '../support/pars-host.js';
import { referencesOf } from '../support/snapshot-references.js';
import { WHOLE } from '../support/whole.js';

const run = promisify(execFile);
const PAGE = 4096;
const MEMORY_MIB = 320;
/** Everything that is no reference is stored, free memory too: what comes back must be the very image. */
const LEAN_AND_FREE = '{base: lean, classes: {free: 1}}\ndisk_references: auto';
const CACHE = ['clean-cache', 'mapped-cache'] as const;
/** Stacked disks whose bytes have a plain offset; PARS_WHOLE=1 boots a guest for each. */
const KINDS = 'linear,striped,origin,lvmraid,raid0,raid1,raid10,raid5,loop';
const STACKS = WHOLE ? KINDS.split(',') : [KINDS];
/** ext4 reads its block bitmaps ahead in the background. */
const BITMAPS_BYTES = 64 << 10;

describe.skipIf(labMissing() !== undefined)('a guest whose disk is a raw file', () => {
  let host: ParsHost;
  let guest: Guest;

  beforeAll(async () => {
    host = await ParsHost.start();
  });
  afterAll(() => host?.stop());
  afterEach(async () => {
    await guest.destroy().catch(() => undefined);
    await host.lab.virsh('undefine', guest.uuid, '--managed-save').catch(() => undefined);
  });

  async function saved(policy: string): Promise<string> {
    await host.configure(policy);
    guest = await host.boot({
      kernel: 'trixie',
      memoryMiB: MEMORY_MIB,
      disks: [{ fs: 'ext4', generate: 200, format: 'raw' }],
    });
    await guest.managedSave();
    const whole = join(host.lab.dir, `${guest.name}.whole`);
    await copyFile(guest.hostImagePath, whole);
    return whole;
  }

  async function offloaded(): Promise<Manifest> {
    await host.pars('offload', guest.imagePath);
    return (await host.json<{ manifest: Manifest }>('show', await host.snapshotOf(guest))).manifest;
  }

  async function expectSame(a: string, b: string): Promise<void> {
    await run('cmp', [a, b]);
  }

  async function diskPath(): Promise<string> {
    const [name = ''] = (await readdir(join(host.lab.dir, 'disks'))).slice(-1);
    return join(host.lab.dir, 'disks', name);
  }

  /** One byte within a run of that class; by default the disk's time is put back. */
  async function changeBlock(pageClass: PageClass, hides = true): Promise<void> {
    const runs = await referencesOf(host.store, await host.snapshotOf(guest));
    const changed = runs.find((reference) => reference.pageClass === pageClass);
    if (changed === undefined) throw new Error(`no reference to ${pageClass}`);
    const path = await diskPath();
    const time = join(host.lab.dir, 'time');
    await run('touch', ['-r', path, time]); // to the nanosecond
    const file = await open(path, 'r+');
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, changed.offset + 100);
    await file.write(Buffer.from([buffer[0]! ^ 0xff]), 0, 1, changed.offset + 100);
    await file.sync();
    await file.close();
    if (hides) await run('touch', ['-r', time, path]);
  }

  async function expectVerified(exitCode: number, says: RegExp): Promise<void> {
    const { code, stdout, stderr } = await host.try('verify', '--disks', await host.snapshotOf(guest));
    expect(stdout + stderr).toMatch(says);
    expect(code).toBe(exitCode);
  }

  test('comes back byte for byte, from what is on its disk and what is in the store', async () => {
    const whole = await saved(LEAN_AND_FREE);
    const report = await host.json<{ onDisks: Record<PageClass, number> }>('report', guest.imagePath);
    const manifest = await offloaded();
    expect(report.onDisks).toEqual(manifest.references?.classes);
    const cached =
      manifest.classes['clean-cache'].payloadPages + manifest.classes['mapped-cache'].payloadPages;
    expect(manifest.format).toBe(4);
    expect(manifest.references?.pages).toBeGreaterThan(0.95 * cached);
    expect(manifest.classes['clean-cache'].storedBytes).toBeLessThan(0.05 * cached * PAGE);
    const copy = join(host.lab.dir, 'copy');
    await host.pars('restore', manifest.snapshot, '--to', copy);
    await expectSame(copy, whole);
    await host.pars('hydrate', guest.imagePath);
    await expectSame(guest.hostImagePath, whole);
    await rm(copy);
    await guest.start();
    const { line, reads } = await expectSound(guest);
    expect(reads * 512, line).toBeLessThan(BITMAPS_BYTES);
  });

  test('reads a clean page of a changed block again, and does not start without a mapped one', async () => {
    await saved('minimal\ndisk_references: auto');
    await offloaded();
    await expectVerified(0, /are there, all of them/);
    await changeBlock('mapped-cache');
    await expectVerified(9, /mapped-cache data .* at byte \d+ of the disk vda/s);
    // Its time says nothing, so no comparison of disks stops this one: the digest does, with or without it.
    for (const flags of [[], ['--accept-changed-disks']]) {
      const { code, stderr } = await host.try('hydrate', ...flags, guest.imagePath);
      expect(code, stderr).toBe(9);
      expect(stderr).toMatch(/mapped-cache data .* at byte \d+ of the disk vda/s);
    }
    await changeBlock('mapped-cache'); // back to what it was
    await changeBlock('clean-cache', false);
    await expectVerified(5, /of them have changed there: clean/);
    const refused = await host.try('hydrate', guest.imagePath);
    expect(refused.code, refused.stderr).toBe(3);
    const hydrated = await host.json<{ pagesLostUnexpectedly: number }[]>(
      'hydrate',
      '--accept-changed-disks',
      guest.imagePath,
    );
    expect(JSON.stringify(hydrated)).toMatch(/"pagesLostUnexpectedly":[1-9]/);
  });

  test('keeps everything in the store where references are forbidden', async () => {
    await saved('lean\ndisk_references: off');
    const manifest = await offloaded();
    expect(manifest.format).toBe(1);
    expect(manifest.references).toBeUndefined();
  });

  test.each(STACKS)('finds what lies below %s', async (kinds) => {
    await host.configure('lean\ndisk_references: auto');
    guest = await host.boot({
      kernel: 'trixie',
      memoryMiB: 512,
      cmdline: `pars.files=all pars.maps=1 pars.stack=${kinds}`,
      disks: [
        { fs: 'ext4', generate: 24, size: 40, mkfs: '-b 4096', format: 'raw' },
        { fs: 'blank', size: 700, format: 'raw' },
        { fs: 'ext4', size: 64, mkfs: '-b 4096', format: 'raw' },
      ],
    });
    await guest.managedSave();
    const { onDisks, classes } = await host.json<{
      onDisks: Record<PageClass, number>;
      classes: Record<PageClass, { payloadPages: number }>;
    }>('report', guest.imagePath);
    const [held, all] = CACHE.map((name) => [onDisks[name], classes[name].payloadPages] as const).reduce(
      ([a, b], [c, d]) => [a + c, b + d],
      [0, 0],
    );
    console.log(`${kinds}: ${held} of ${all} pages of the cache`);
    expect(held).toBeGreaterThan(0.9 * all);
  });
});
