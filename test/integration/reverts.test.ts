// SPDX-License-Identifier: Apache-2.0
/**
 * Reverts to external memory snapshots whose memory file is a stub, on a real guest. libvirt before 9.9
 * refuses such reverts.
 */
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Check } from '../../src/doctor/check.js';
import type { HostStatus } from '../../src/status/host-status.js';
import { expectSound, fingerprint } from '../support/guest-judge.js';
import { labMissing, libvirtVersion, type Guest } from '../support/lab.js';
import { bytesOnDisk, ParsHost, STUB_LIMIT } from '../support/pars-host.js';

const REVERTS_SINCE = 9010;

describe.skipIf(libvirtVersion() < REVERTS_SINCE)('a revert to a snapshot whose memory is a stub', () => {
  let host: ParsHost;
  let guest: Guest;

  beforeAll(async () => {
    expect(labMissing()).toBeUndefined();
    host = await ParsHost.start();
    await host.installHook();
    await host.configure('minimal');
    guest = await host.boot({ memoryMiB: 256, disks: [{ fs: 'ext4', generate: 96 }] });
    await host.pars('offload', await snapshot('s1'));
  });
  afterAll(() => host?.stop());

  const memory = (name: string): string => join(host.lab.dir, `${name}.mem`);

  /** A live snapshot of memory and disk; returns its memory file. */
  async function snapshot(name: string, ...options: string[]): Promise<string> {
    const disk = `vda,snapshot=external,file=${join(host.lab.dir, 'disks', `${name}.disk`)}`;
    const file = `file=${memory(name)},snapshot=external`;
    await host.lab.virsh(
      'snapshot-create-as',
      guest.uuid,
      name,
      '--memspec',
      file,
      '--diskspec',
      disk,
      ...options,
    );
    return memory(name);
  }

  async function revert(name: string): Promise<void> {
    guest.console.disconnect();
    await host.lab.virsh('snapshot-revert', guest.uuid, name);
  }

  async function expectReverted(name: string): Promise<void> {
    await revert(name);
    await expectSound(guest);
    expect(await bytesOnDisk(memory(name)), 'refilled in place').toBeGreaterThan(STUB_LIMIT);
    expect(await host.pars('offload', memory(name))).toMatch(/is a stub (?:now|again)/);
    expect(await bytesOnDisk(memory(name))).toBeLessThan(STUB_LIMIT);
  }

  const states = async (): Promise<Record<string, unknown>[]> =>
    (await host.json<{ snapshots: Record<string, unknown>[] }>('list', guest.uuid)).snapshots;

  test('takes place while the guest runs, and while it is off; neither consumes it', async () => {
    await expectReverted('s1');
    await guest.destroy();
    await expectReverted('s1');
    await guest.destroy();
    await guest.start();
    await guest.destroy();
    await expectReverted('s1');
    expect((await states()).map(({ state }) => state)).not.toContain('consumed');
  });

  test('takes place although a directory of the store is gone', async () => {
    await host.unmount(0);
    await revert('s1');
    await expectSound(guest);
    await host.mount(0);
    await host.pars('offload', memory('s1'));
  });

  test('is refused while the store is away, as status and doctor warn; the stub is unharmed', async () => {
    const before = await fingerprint(memory('s1'));
    for (const nth of [0, 1, 2]) await host.unmount(nth);
    const { stderr } = await host.try('status');
    expect(stderr).toContain('a revert would end the running guest first, and then fail');
    const { checks } = JSON.parse((await host.try('doctor', '--json')).stdout) as { checks: Check[] };
    expect(checks.find(({ name }) => name === 'reverts')).toMatchObject({ outcome: 'warning' });
    await expect(revert('s1')).rejects.toThrow(/usable|reached/);
    expect(await guest.state()).toBe('shut off');
    expect(await fingerprint(memory('s1'))).toEqual(before);
    for (const nth of [0, 1, 2]) await host.mount(nth);
    const { stdout } = await host.try('status', '--json');
    expect((JSON.parse(stdout) as HostStatus & { warnings: string[] }).warnings).toEqual([]);
    await expectReverted('s1');
  });

  test('fails in QEMU without the hook; the stub is unharmed, and the next revert takes place', async () => {
    const before = await fingerprint(memory('s1'));
    await host.uninstallHook('--force');
    await expect(revert('s1')).rejects.toThrow(/load of migration failed/);
    expect(await fingerprint(memory('s1'))).toEqual(before);
    await host.installHook();
    await expectReverted('s1');
  });

  test('takes place after its parent was deleted, and its disk merged into another', async () => {
    await snapshot('s2', '--live');
    await snapshot('s3', '--live');
    await host.pars('offload', memory('s3'));
    await host.lab.virsh('snapshot-delete', guest.uuid, 's2');
    await expect(stat(join(host.lab.dir, 'disks/s2.disk'))).rejects.toThrow('ENOENT');
    await expectReverted('s3');
  });

  test('of a deleted snapshot is an orphan in the store; its memory file is gone with it', async () => {
    const [stored] = (await host.json<HostStatus>('status')).stubs.filter(
      ({ image }) => image === memory('s3'),
    );
    await host.lab.virsh('snapshot-delete', guest.uuid, 's3');
    await expect(stat(memory('s3'))).rejects.toThrow('ENOENT');
    expect((await states()).find(({ snapshot: name }) => name === stored?.snapshot)).toMatchObject({
      orphan: true,
    });
    expect((await states()).filter(({ orphan }) => orphan === false).length).toBeGreaterThan(0);
  });

  test('is not offered for what it cannot refill in time: a compressed memory file stays whole', async () => {
    await host.lab.exec('sh', ['-c', `echo 'snapshot_image_format = "zstd"' >>/etc/libvirt/qemu.conf`]);
    await host.lab.restartLibvirtd();
    await snapshot('s4');
    const { code, stderr } = await host.try('offload', memory('s4'));
    expect({ code, stderr }).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('compressed as zstd') as string,
    });
    await revert('s4');
    await expectSound(guest);
    await rm(memory('s4'));
  });
});
