// SPDX-License-Identifier: Apache-2.0
/**
 * The main job, on real guests under a real libvirt: save, offload by the hook, start, and let the guest
 * judge. Letters are those of issue 3, "Shown by".
 */
import { execFile } from 'node:child_process';
import { constants, copyFileSync, openSync, closeSync, readSync, writeSync } from 'node:fs';
import { access, mkdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { MANIFEST_NAME, objectPath } from '../../src/snapshot/snapshots.js';
import { expectSound, fingerprint, lostCachePages } from '../support/guest-judge.js';
import { ramRecords } from '../support/elf-core.js';
import { labMissing, type Guest } from '../support/lab.js';
import { bytesOnDisk, ParsHost, STUB_LIMIT } from '../support/pars-host.js';

const PAGE = 4096;
/**
 * The block bitmaps of its disk: 1 KiB for each 8 MiB. Of what it has in its cache it is one page in
 * thousands.
 */
const BITMAPS_BYTES = 64 << 10;
const MEMORY_MIB = 256;

describe.skipIf(labMissing() !== undefined)('a guest on a host with the hook installed', () => {
  let host: ParsHost;
  let guest: Guest;
  let kept: Guest | undefined;

  beforeAll(async () => {
    host = await ParsHost.start();
    await host.installHook();
  });
  afterEach(async ({ task }) => {
    if (guest === kept) {
      if (task.result?.state !== 'fail') return;
      kept = undefined;
    }
    await guest.destroy().catch(() => undefined);
    await host.lab.virsh('undefine', guest.uuid, '--managed-save').catch(() => undefined);
  });
  afterAll(() => host?.stop());

  async function savedAndOffloaded(policy: string): Promise<void> {
    await host.configure(policy);
    await guest.managedSave();
    await host.untilStub(guest.hostImagePath);
  }

  /** That of the test before, if it came back from it: a boot takes longer than most tests. */
  async function keptGuest(): Promise<Guest> {
    kept ??= await host.boot({ memoryMiB: MEMORY_MIB });
    if ((await kept.state()) !== 'running') await kept.start();
    return kept;
  }

  test('(a) comes back with everything stored, and reads nothing again', async () => {
    guest = await host.boot({ memoryMiB: MEMORY_MIB });
    await savedAndOffloaded('pars');
    await guest.start();
    const { line, reads } = await expectSound(guest);
    // Of its files nothing: ext4 reads its block bitmaps ahead in the background, one by one, when it gets to
    // it.
    expect(reads * 512, line).toBeLessThan(BITMAPS_BYTES);
    await expect(
      access(guest.hostImagePath),
      'libvirt takes a managed save away after the start',
    ).rejects.toThrow();
  });

  test('(b) comes back without its clean page cache, and reads it again from its disk', async () => {
    guest = await host.boot({ memoryMiB: MEMORY_MIB, cmdline: 'pars.fill=55' });
    await savedAndOffloaded('minimal');
    const lost = await lostCachePages(host, guest);
    expect(lost / ((MEMORY_MIB << 20) / PAGE)).toBeGreaterThanOrEqual(0.3);
    await guest.start();
    const { line, reads } = await expectSound(guest);
    expect(reads * 512, line).toBeGreaterThan(lost * PAGE * 0.5);
  });

  test('chooses its policy in its own metadata', async () => {
    await host.configure('pars');
    const metadata = "<pars:guest xmlns:pars='https://pars.dev/xmlns/guest/1' policy='minimal'/>";
    guest = await host.boot({ memoryMiB: MEMORY_MIB, metadata });
    await guest.managedSave();
    await host.untilStub(guest.hostImagePath);
    expect(await lostCachePages(host, guest)).toBeGreaterThan(0);
    await guest.start();
    await expectSound(guest);
  });

  test('(c) comes back with one of three disks gone', async () => {
    guest = await keptGuest();
    await savedAndOffloaded('pars');
    await host.unmount(1);
    try {
      await guest.start();
      await expectSound(guest);
    } finally {
      await host.mount(1);
    }
  });

  test('R21: everything but the expendable packs is on every disk, and enough for a start', async () => {
    guest = await keptGuest();
    await savedAndOffloaded('lean');
    const snapshot = await host.snapshotOf(guest);
    const { manifest } = await host.json<{ manifest: Manifest }>('show', snapshot);
    const critical = [
      MANIFEST_NAME,
      'index',
      ...manifest.objects.map(({ name }) => name).filter((name) => !name.startsWith('clean-cache.')),
    ];
    // the recovery lies in the skeleton's packs
    expect(critical).toEqual(expect.arrayContaining(['skeleton.0', 'kernel.0', 'anon.0']));
    const on = (disk: string, name: string): string => join(disk, objectPath(snapshot, name));
    for (const disk of host.disks) for (const name of critical) await access(on(disk, name));
    const expendable = manifest.objects.filter(({ name }) => name.startsWith('clean-cache.'));
    for (const disk of host.disks)
      for (const { name } of expendable) await rm(on(disk, name), { force: true });
    await guest.start();
    const { line, reads } = await expectSound(guest);
    expect(reads * 512, line).toBeGreaterThan(manifest.classes['clean-cache'].payloadPages * PAGE * 0.5);
  });

  test('(d) does not start with all disks gone, says why, and starts when they are back', async () => {
    guest = await keptGuest();
    await savedAndOffloaded('lean');
    const before = await fingerprint(guest.hostImagePath);
    for (const nth of host.disks.keys()) await host.unmount(nth);
    try {
      await expect(guest.start()).rejects.toThrow(/pars: .*(store|disk|director)/is);
      expect(await fingerprint(guest.hostImagePath)).toEqual(before);
      expect(await guest.state()).toBe('shut off');
    } finally {
      for (const nth of host.disks.keys()) await host.mount(nth);
    }
    await guest.start();
    await expectSound(guest);
  });

  test('(e) comes back after its save directory was wiped', async () => {
    guest = await keptGuest();
    await savedAndOffloaded('lean');
    const snapshot = await host.snapshotOf(guest);
    await rm(dirname(guest.hostImagePath), { recursive: true });
    await mkdir(dirname(guest.hostImagePath), { mode: 0o700 });
    await host.pars('restore', snapshot, '--to', guest.imagePath);
    await guest.start();
    await expectSound(guest);
  });

  test('with a nasty name comes back too', async () => {
    await host.configure('lean');
    guest = await host.boot({ memoryMiB: MEMORY_MIB, name: `$(id) 'it' "is" & <%s> -x; é` });
    await guest.managedSave();
    await host.untilStub(guest.hostImagePath);
    await guest.start();
    await expectSound(guest);
  });

  test.each([[[]], [['--bypass-cache']]])(
    'saved to any path, offloaded by hand, is restored by virsh %j',
    async (flags) => {
      await host.configure('lean');
      guest = await keptGuest();
      const image = join(host.lab.dir, 'any where.save');
      await guest.save(image, ...flags);
      const { ino, size } = await stat(image);
      const result = await host.json<{ image: string; freedBytes: number; storedBytes: number }>(
        'offload',
        image,
      );
      expect(result).toMatchObject({ image, storedBytes: expect.any(Number) });
      expect(result.freedBytes).toBeGreaterThan(size / 2);
      expect(await stat(image)).toMatchObject({ ino, size });
      expect(await bytesOnDisk(image)).toBeLessThan(STUB_LIMIT);
      await guest.restore(image, ...flags);
      await expectSound(guest);
      expect((await stat(image)).ino).toBe(ino);
      await rm(image);
    },
  );

  test('does not start from a stub without the hook, and loses nothing', async () => {
    guest = await keptGuest();
    await savedAndOffloaded('lean');
    const before = await fingerprint(guest.hostImagePath);
    const refusal = await host.try('hooks', 'uninstall', '--prefix', join(host.lab.dir, 'program'));
    expect(refusal).toMatchObject({ code: 3, stderr: expect.stringContaining(guest.imagePath) });
    await host.uninstallHook('--force');
    try {
      await expect(guest.start()).rejects.toThrow(/start/);
      await expect(guest.start('--bypass-cache')).rejects.toThrow(/start/);
      expect(await fingerprint(guest.hostImagePath)).toEqual(before);
    } finally {
      await host.installHook();
    }
    await guest.start();
    await expectSound(guest);
  });

  test('gets its very image back under pars; what minimal loses harms it without the recovery', async () => {
    guest = await host.boot({ memoryMiB: MEMORY_MIB });
    const [image, original, restored] = ['x.save', 'x.original', 'x.restored'].map((name) =>
      join(host.lab.dir, name),
    ) as [string, string, string];
    await guest.save(image);
    copyFileSync(image, original, constants.COPYFILE_FICLONE);
    const whole = await host.json<{ snapshot: string }>('offload', '--policy', 'pars', image);
    await host.pars('restore', whole.snapshot, '--to', restored);
    await promisify(execFile)('cmp', [original, restored]);
    await host.pars('hydrate', image);
    await promisify(execFile)('cmp', [original, image]);
    await rm(restored);
    const thin = await host.json<{ snapshot: string }>('offload', '--policy', 'minimal', image);
    await host.pars('restore', thin.snapshot, '--to', restored);
    undoRecovery(original, restored);
    await guest.restore(restored);
    expect((await guest.check()).line).toMatch(/^PARS-CHECK FAIL/);
  });
});

/**
 * Puts the original's bytes back into every page of a restored image but those that were lost, which stay
 * zeros.
 */
function undoRecovery(original: string, restored: string): void {
  const [from, into] = [openSync(original, 'r'), openSync(restored, 'r+')];
  const [page, zeros] = [Buffer.alloc(PAGE), Buffer.alloc(PAGE)];
  for (const record of ramRecords(from)) {
    if ('size' in record) continue;
    readSync(into, page, 0, PAGE, record.offset);
    if (page.equals(zeros)) continue;
    readSync(from, page, 0, PAGE, record.offset);
    writeSync(into, page, 0, PAGE, record.offset);
  }
  closeSync(from);
  closeSync(into);
}
