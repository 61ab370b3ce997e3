// SPDX-License-Identifier: Apache-2.0
/**
 * The disks a guest is resumed on are those it was saved with (R26), on a real guest that has one of every
 * kind: a volume of a pool, an nbd disk, a block device and a read-only image. Each is changed behind its
 * back, and put back.
 */
import { execFile } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { copyFile, mkdir, rename, rm, stat, utimes, watch } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { expectSound } from '../support/guest-judge.js';
import { labMissing, labScript, type Guest } from '../support/lab.js';
import { ParsHost, STUB_LIMIT, bytesOnDisk } from '../support/pars-host.js';
import { WHOLE } from '../support/whole.js';

const run = promisify(execFile);
const POOL = 'images';

interface ShownDisk {
  target: string;
  source: string;
  uncompared?: string;
}

/** In place: the same inode, or device, with other contents. */
async function overwrite(from: string, to: string): Promise<void> {
  await run('dd', ['status=none', `if=${from}`, `of=${to}`, 'bs=1M', 'conv=notrunc,fsync']);
}

/** A server makes its socket when it listens. */
async function socketThere(path: string): Promise<void> {
  const deadline = AbortSignal.timeout(180_000);
  const changes = watch(dirname(path), { signal: deadline });
  const isThere = (): Promise<boolean> =>
    stat(path).then(
      () => true,
      () => false,
    );
  if (await isThere()) return;
  for await (const { filename } of changes) if (filename !== null && (await isThere())) return;
}

describe.skipIf(labMissing() !== undefined)('a guest with disks of every kind', () => {
  let host: ParsHost;
  let guest: Guest;
  let device = '';
  let server: ChildProcess | undefined;

  const at = (name: string): string => join(host.lab.dir, 'disks', name);
  const volume = (): string => join(at('pool'), 'volume.img');

  beforeAll(async () => {
    host = await ParsHost.start();
    await host.installHook();
    const ext4 = await labScript('disk', '--fs', 'ext4', '--generate', '64');
    const squashfs = await labScript('disk', '--fs', 'squashfs', '--generate', '64');
    await mkdir(at('pool'));
    for (const path of [volume(), at('exported.img'), at('device.img')]) await copyFile(ext4, path);
    await copyFile(squashfs, at('root.squashfs'));
    await host.lab.virsh('pool-define-as', POOL, 'dir', '--target', at('pool'));
    await host.lab.virsh('pool-start', POOL);
    device = (await run('losetup', ['--show', '-f', at('device.img')])).stdout.trim();
    await serve();
  });
  afterEach(async () => {
    await guest?.destroy().catch(() => undefined);
    await host.lab.virsh('undefine', guest.uuid, '--managed-save').catch(() => undefined);
  });
  afterAll(async () => {
    server?.kill('SIGKILL');
    await host?.stop();
    if (device !== '') await run('losetup', ['-d', device]);
  });

  async function serve(): Promise<void> {
    await rm(at('nbd.sock'), { force: true });
    server = host.lab.spawn('qemu-nbd', [
      '-t',
      '-e',
      '4',
      '-f',
      'raw',
      '-x',
      'disk',
      '-k',
      at('nbd.sock'),
      at('exported.img'),
    ]);
    await socketThere(at('nbd.sock'));
  }

  const disk = (target: string, type: string, source: string, inside = ''): string =>
    `<disk type='${type}' device='disk'><driver name='qemu' type='raw' `
    + `error_policy='report'/>${source}<target dev='${target}' bus='virtio'/>${inside}</disk>`;

  const nbdSource = (): string =>
    `<source protocol='nbd' name='disk'><host transport='unix' socket='${at('nbd.sock')}'/></source>`;

  /** Saved, and a stub. */
  async function offloaded(policy: string, metadata = ''): Promise<void> {
    await host.configure(policy);
    const disks = [
      disk('vda', 'volume', `<source pool='${POOL}' volume='volume.img'/>`),
      disk('vdb', 'network', nbdSource()),
      disk('vdc', 'block', `<source dev='${device}'/>`),
      disk('vdd', 'file', `<source file='${at('root.squashfs')}'/>`, '<readonly/>'),
    ];
    guest = await host.boot({
      disks: [],
      elements: `<devices>${disks.join('')}</devices>`,
      cmdline: 'pars.fill=40',
      ...(metadata !== '' && { metadata }),
    });
    await guest.managedSave();
    await host.untilStub(guest.hostImagePath);
  }

  async function shown(): Promise<{ disks: ShownDisk[]; policy: { copies: Record<string, number> } }> {
    return (
      await host.json<{ manifest: Awaited<ReturnType<typeof shown>> }>('show', await host.snapshotOf(guest))
    ).manifest;
  }

  /** The start fails, the host says why, and the stub is left. */
  async function expectRefused(why: RegExp): Promise<void> {
    await expect(guest.start()).rejects.toThrow();
    const { stdout } = await host.try('status', '--json');
    const { failures } = JSON.parse(stdout) as { failures: { message: string }[] };
    expect(failures[0]?.message).toMatch(why);
    expect(await guest.state()).toBe('shut off');
    expect(await bytesOnDisk(guest.hostImagePath)).toBeLessThan(STUB_LIMIT);
  }

  test('each is refused when it changed, with a sentence, and taken when it was put back', async () => {
    await offloaded('minimal');
    const { disks } = await shown();
    expect(disks.map(({ source }) => source)).toEqual([
      volume(),
      expect.stringMatching(/^nbd:/),
      device,
      at('root.squashfs'),
    ]);

    await rename(volume(), at('aside.img'));
    await copyFile(at('aside.img'), volume());
    await expectRefused(/vda \(.*volume\.img\) was replaced by another file/);
    await rename(at('aside.img'), volume());

    const nbd = ['--image-opts', `driver=nbd,server.type=unix,server.path=${at('nbd.sock')},export=disk`];
    await copyFile(at('exported.img'), at('exported.kept'));
    await host.lab.exec('qemu-io', [...nbd, '-c', 'write -P 9 1536 512']);
    await expectRefused(/vdb \(nbd:.*\) has other contents \(its first 64 KiB/);
    await overwrite(at('exported.kept'), at('exported.img'));

    await run('touch', ['-r', at('root.squashfs'), at('time')]);
    await utimes(at('root.squashfs'), new Date(), new Date());
    await expectRefused(/vdd \(.*root\.squashfs\) was last written/);
    await run('touch', ['-r', at('time'), at('root.squashfs')]);

    await copyFile(at('device.img'), at('kept.img'));
    await overwrite(await labScript('disk', '--fs', 'ext4', '--generate', '64'), device);
    await expectRefused(/vdc \(.*\) was written to since/);
    await run('losetup', ['-d', device]);
    await run('losetup', [device, at('device.img')]);
    await expectRefused(/vdc \(.*\) has other contents \(its first 64 KiB, ext4 journal/);
    await run('losetup', ['-d', device]);
    await overwrite(at('kept.img'), at('device.img'));
    await run('losetup', [device, at('device.img')]);

    const mountAt = at('mount');
    await mkdir(mountAt);
    await run('mount', [device, mountAt]);
    await run('umount', [mountAt]);
    await expectRefused(/vdc \(.*\) has other contents/);
    await run('losetup', ['-d', device]);
    await overwrite(at('kept.img'), at('device.img'));
    await run('losetup', [device, at('device.img')]);

    await guest.start();
    await expectSound(guest);
  });

  test.runIf(WHOLE)(
    'what cannot be compared is told before, keeps its cache, is refused unless accepted',
    async () => {
      await host.configure('minimal');
      server?.kill('SIGKILL');
      await copyFile(await labScript('disk', '--fs', 'ext4', '--generate', '64'), at('exported.img'));
      const root = disk('vda', 'file', `<source file='${at('root.squashfs')}'/>`, '<readonly/>');
      const elements = `<devices>${root}${disk('vdb', 'network', nbdSource())}</devices>`;
      await serve();
      guest = await host.boot({ disks: [], elements, cmdline: 'pars.fill=40' });
      // Without the hook nothing is offloaded before the server is gone.
      await host.uninstallHook();
      await guest.managedSave();
      server?.kill('SIGKILL');
      const said = await host.pars('offload', guest.imagePath);
      expect(said).toMatch(/vdb \(nbd:.*cannot be compared: .*a start is refused unless that is accepted/);
      await host.installHook();
      const { disks, policy } = await shown();
      expect(disks.map(({ uncompared }) => uncompared)).toEqual([
        undefined,
        expect.stringContaining('NBD server'),
      ]);
      expect(policy.copies['clean-cache'], 'a policy of 0 copies keeps one').toBe(1);
      expect(await host.pars('status')).toMatch(/vdb \(nbd:.*cannot be compared/);
      await serve();
      await expectRefused(/nobody can tell whether .*vdb \(nbd:/);
      await host.pars('hydrate', '--accept-changed-disks', guest.imagePath);
      await guest.start();
      await expectSound(guest);
    },
  );

  test.runIf(WHOLE)('come to another host as files: a network disk and a volume', async () => {
    await host.configure('minimal');
    server?.kill('SIGKILL');
    const ext4 = await labScript('disk', '--fs', 'ext4', '--generate', '64');
    for (const path of [volume(), at('exported.img')]) await copyFile(ext4, path);
    await serve();
    const disks = [
      disk('vda', 'volume', `<source pool='${POOL}' volume='volume.img'/>`),
      disk('vdb', 'network', nbdSource()),
    ];
    guest = await host.boot({
      disks: [],
      elements: `<devices>${disks.join('')}</devices>`,
      cmdline: 'pars.fill=40',
    });
    await guest.managedSave();
    await host.untilStub(guest.hostImagePath);
    const snapshot = await host.snapshotOf(guest);
    const other = await ParsHost.start({ beside: host });
    try {
      await other.installHook();
      const define = (...options: string[]): ReturnType<ParsHost['try']> =>
        other.try('restore', snapshot, '--define', ...options);
      const [a, b] = [at('a.img'), at('b.img')];
      expect(await define('--set-disk', `vdx=${volume()}`)).toMatchObject({ code: 2 });
      expect((await define('--set-disk', `vdb=${b}`)).stderr).toContain(`vdb (${b}) is not there`);
      await copyFile(volume(), a);
      await copyFile(ext4, b);
      const moves = ['--set-disk', `vda=${a}`, '--set-disk', `vdb=${b}`];
      expect((await define(...moves)).stderr).toMatch(/vdb \(.*b\.img\) has other contents/);
      await overwrite(at('exported.img'), b);
      expect(await define(...moves)).toMatchObject({ code: 0 });
      guest.console.disconnect();
      await other.lab.virsh('start', guest.uuid);
      await expectSound(guest);
      expect(await other.lab.virsh('domblklist', guest.uuid)).toMatch(/vda +.*a\.img\s+vdb +.*b\.img/);
    } finally {
      await other.stop();
    }
  });
});
