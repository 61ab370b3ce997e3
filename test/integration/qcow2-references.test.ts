// SPDX-License-Identifier: Apache-2.0
/**
 * Page cache that stays on a guest's qcow2 disk, which stands on others: it comes back through whatever the
 * disk's files are by then, and by its digests only.
 */
import { execFile } from 'node:child_process';
import { copyFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PageClass } from '../../src/page-classes.js';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { expectSound } from '../support/guest-judge.js';
import { type Guest, labMissing } from '../support/lab.js';
import { ParsHost } from '../support/pars-host.js';
import { referencesOf } from '../support/snapshot-references.js';

const run = promisify(execFile);
const SECTOR = 512;
/** Everything that is no reference is stored, free memory too: what comes back must be the very image. */
const LEAN_AND_FREE = '{base: lean, classes: {free: 1}}\ndisk_references: auto';
/** ext4 reads its block bitmaps ahead in the background. */
const BITMAPS_BYTES = 256 << 10;

describe.skipIf(labMissing() !== undefined)('a guest whose disk is a qcow2 image on two others', () => {
  let host: ParsHost;
  let guest: Guest;
  let middle: string, top: string;

  beforeAll(async () => {
    host = await ParsHost.start();
    await host.configure(LEAN_AND_FREE);
    guest = await host.lab.defineGuest({
      kernel: 'trixie',
      memoryMiB: 256,
      cmdline: 'pars.fill=40',
      disks: [{ fs: 'ext4', generate: 96 }],
    });
    const [name = ''] = await readdir(join(host.lab.dir, 'disks'));
    middle = join(host.lab.dir, 'disks', name);
    top = join(host.lab.dir, 'disks', 'top.qcow2');
    await host.lab.exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', middle, '-F', 'qcow2', top]);
    const xml = await host.lab.virsh('dumpxml', '--inactive', guest.uuid);
    const changed = join(host.lab.dir, 'on-top.xml');
    expect(xml).toContain(`file='${middle}'`);
    await writeFile(changed, xml.replace(`file='${middle}'`, `file='${top}'`));
    await host.lab.virsh('define', changed);
    await guest.boot();
  });
  afterAll(() => host?.stop());

  async function saved(): Promise<string> {
    await guest.managedSave();
    const whole = join(host.lab.dir, 'whole');
    await copyFile(guest.hostImagePath, whole);
    return whole;
  }

  async function offloaded(): Promise<Manifest> {
    await host.pars('offload', guest.imagePath);
    return (await host.json<{ manifest: Manifest }>('show', await host.snapshotOf(guest))).manifest;
  }

  async function inLab(command: string, ...args: string[]): Promise<void> {
    const { code, stderr } = await host.lab.exec(command, args);
    expect(code, stderr).toBe(0);
  }

  /** One sector within a run of that class: the image grows by a cluster, and its time is put back. */
  async function changeSector(pageClass: PageClass): Promise<void> {
    const runs = await referencesOf(host.store, await host.snapshotOf(guest));
    const changed = runs.find((reference) => reference.pageClass === pageClass);
    if (changed === undefined) throw new Error(`no reference to ${pageClass}`);
    const time = join(host.lab.dir, 'time');
    await inLab('touch', '-r', top, time); // to the nanosecond
    await inLab('qemu-io', '-c', `write -P 0x5a ${changed.offset} ${SECTOR}`, top);
    await inLab('touch', '-r', time, top);
  }

  test('comes back byte for byte, also after a commit, and reads nothing again', async () => {
    const whole = await saved();
    const report = await host.json<{ onDisks: Record<PageClass, number> }>('report', guest.imagePath);
    const manifest = await offloaded();
    const { classes, references, disks } = manifest;
    const cached = classes['clean-cache'].payloadPages + classes['mapped-cache'].payloadPages;
    expect(report.onDisks).toEqual(references?.classes);
    expect(manifest.format).toBe(4);
    expect(disks.map(({ format, below }) => [format, below?.length])).toEqual([['qcow2', 2]]);
    expect(references?.pages).toBeGreaterThan(0.9 * cached);
    await host.pars('verify', '--disks');
    const copy = join(host.lab.dir, 'copy');
    await host.pars('restore', manifest.snapshot, '--to', copy);
    await run('cmp', [copy, whole]);
    await rm(copy);

    await inLab('qemu-img', 'commit', '-q', top);
    const refused = await host.try('hydrate', guest.imagePath);
    expect(refused.code, refused.stderr).toBe(3);
    expect(refused.stderr).toMatch(/vda/);
    await host.pars('hydrate', '--accept-changed-disks', guest.imagePath);
    await run('cmp', [guest.hostImagePath, whole]);
    await guest.start();
    const { line, reads } = await expectSound(guest);
    expect(reads * SECTOR, line).toBeLessThan(BITMAPS_BYTES);
    console.log(`${references?.pages} of ${cached} pages; ${line}`);
  });

  test('does not start without a mapped page, and reads a clean one again', async () => {
    await saved();
    await offloaded();
    const before = join(host.lab.dir, 'before.qcow2');
    await inLab('cp', '-p', top, before);
    await changeSector('mapped-cache');
    const grown = await host.try('hydrate', guest.imagePath);
    expect(grown.code, grown.stderr).toBe(3);
    const { code, stderr } = await host.try('hydrate', '--accept-changed-disks', guest.imagePath);
    expect(code, stderr).toBe(9);
    expect(stderr).toMatch(/mapped-cache data .* at byte \d+ of the disk vda/s);
    await inLab('sh', '-c', 'cat "$1" >"$2" && touch -r "$1" "$2"', 'sh', before, top);
    await changeSector('clean-cache');
    const hydrated = await host.json<unknown>('hydrate', '--accept-changed-disks', guest.imagePath);
    expect(JSON.stringify(hydrated)).toMatch(/"pagesLostUnexpectedly":[1-9]/);
  });
});
