// SPDX-License-Identifier: Apache-2.0
/** Saves of a real guest to any place become stubs without being asked, and resume from there. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectSound } from '../support/guest-judge.js';
import { labMissing, libvirtVersion, type Guest } from '../support/lab.js';
import { bytesOnDisk, ParsHost, STUB_LIMIT } from '../support/pars-host.js';

const PROGRAM = join(import.meta.dirname, '../../dist/cli.js');
/** virsh save knows formats since 11.2, and reverts to external snapshots since 9.9. */
const FORMATS_SINCE = 11_002;
const REVERTS_SINCE = 9010;

describe.skipIf(labMissing() !== undefined)('a save to any place', () => {
  let host: ParsHost;
  let guest: Guest;
  let elsewhere: string;

  beforeAll(async () => {
    host = await ParsHost.start();
    await host.configure('minimal');
    const file = host.lab.hostPath('etc/pars/pars.yaml');
    const watch = JSON.stringify([join(host.lab.dir, 'watched *')]);
    await writeFile(file, `${await readFile(file, 'utf8')}watch: ${watch}\n`);
    await host.installHook();
    await mkdir(join(host.lab.dir, 'watched here'));
    elsewhere = await mkdtemp('/dev/shm/pars-saves.');
    guest = await host.boot({ memoryMiB: 256, disks: [{ fs: 'ext4', generate: 96 }] });
  });
  afterAll(async () => {
    await host?.stop();
    await rm(elsewhere, { recursive: true, force: true });
  });

  async function expectStubThatResumes(image: string, ...options: string[]): Promise<void> {
    await host.untilStub(image);
    await guest.restore(image, ...options);
    await expectSound(guest);
  }

  test('inside a watched directory is found by the worker that the hook calls', async () => {
    const image = join(host.lab.dir, 'watched here', "a save's name");
    await guest.save(image);
    await expectStubThatResumes(image);
    await rm(image);
  });

  test('is waited for by "pars save" and "pars managedsave", which say what was saved', async () => {
    const image = join(host.lab.dir, 'by name.save');
    expect(await host.pars('save', guest.name, image)).toContain('The image is a stub now');
    expect(await bytesOnDisk(image)).toBeLessThan(STUB_LIMIT);
    await guest.restore(image);
    await expectSound(guest);
    await rm(image);
    expect(await host.pars('managedsave', guest.uuid)).toMatch(/is a stub (now|already)/);
    expect(await bytesOnDisk(guest.hostImagePath)).toBeLessThan(STUB_LIMIT);
    await guest.start();
    await expectSound(guest);
  });

  test('is refused on a block device, before the guest is saved', async () => {
    const { code, stderr } = await host.try('save', guest.name, '/dev/loop0');
    expect({ code, stderr }).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('nothing was saved') as string,
    });
    expect(await guest.state()).toBe('running');
  });

  describe('with "pars watch" on two file systems', () => {
    let watcher: ChildProcess;

    beforeAll(async () => {
      watcher = host.lab.spawn(process.execPath, [PROGRAM, 'watch', elsewhere]);
      watcher.stdin?.end();
      const begun = new Promise<void>((resolve) => {
        watcher.stderr?.on('data', (text: Buffer) => String(text).includes('watching') && resolve());
      });
      const ended = once(watcher, 'exit').then(() => {
        throw new Error('pars watch has ended');
      });
      await Promise.race([begun, ended]);
      ended.catch(() => {});
    });
    afterAll(async () => {
      if (watcher.exitCode !== null) return;
      watcher.kill('SIGKILL');
      await once(watcher, 'exit');
    });

    test('is a stub within seconds: another file system, directory, link, past the cache', async () => {
      const unwatched = join(host.lab.dir, 'unwatched');
      await mkdir(unwatched);
      await symlink(unwatched, join(host.lab.dir, 'link'));
      await guest.save(join(elsewhere, 'x.save'));
      await expectStubThatResumes(join(elsewhere, 'x.save'));
      await guest.save(join(host.lab.dir, 'link', 'y'));
      await expectStubThatResumes(join(host.lab.dir, 'link', 'y'));
      await guest.save(join(unwatched, 'z'), '--bypass-cache');
      await expectStubThatResumes(join(unwatched, 'z'), '--bypass-cache');
    });

    test.skipIf(libvirtVersion() < FORMATS_SINCE)(
      'is one in any format: zstd, sparse over two channels',
      async () => {
        const [zstd, sparse] = [join(host.lab.dir, 'zstd'), join(host.lab.dir, 'sparse')];
        await guest.save(zstd, '--image-format', 'zstd');
        await expectStubThatResumes(zstd);
        await guest.save(sparse, '--image-format', 'sparse', '--parallel-channels', '2');
        await expectStubThatResumes(sparse, '--parallel-channels', '2');
      },
    );

    test.skipIf(libvirtVersion() < REVERTS_SINCE)(
      'may be the memory of a snapshot, which a revert refills',
      async () => {
        const memory = join(host.lab.dir, 's1.mem');
        const disk = `vda,snapshot=external,file=${join(host.lab.dir, 'disks/s1.disk')}`;
        const options = ['--live', '--memspec', `file=${memory},snapshot=external`, '--diskspec', disk];
        await host.lab.virsh('snapshot-create-as', guest.uuid, 's1', ...options);
        await host.untilStub(memory);
        guest.console.disconnect();
        await host.lab.virsh('snapshot-revert', guest.uuid, 's1');
        await expectSound(guest);
      },
    );
  });
});
