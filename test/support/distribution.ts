// SPDX-License-Identifier: Apache-2.0
/**
 * A Debian server as an administrator may have installed it, from its own packages: systemd, LVM, md, LUKS,
 * loop devices, overlay, PostgreSQL, a Java program, a web server. See lab/distribution-disks. What it is
 * asked is answered by lab/distribution/agent.py.
 */
import { join } from 'node:path';
import { labScript, type DiskImage, type Guest } from './lab.js';
import type { ParsHost } from './pars-host.js';

export type DistributionSuite = 'bookworm' | 'trixie';

/** vda to vdd, in the order of lab/distribution/install. */
const DISKS = ['system', 'mirror-a', 'mirror-b', 'vault'];
export const MEMORY_MIB = 1536;
const BOOT_DEADLINE_MS = 30 * 60_000;
const RESCUE_DEADLINE_MS = 10 * 60_000;
/** systemd's own words on the console would tear the agent's lines. */
const QUIET = 'systemd.show_status=no audit=0';

const raw = (image: string): DiskImage => ({ image, format: 'raw' });
const overlay = (image: string): DiskImage => ({ image, format: 'raw', overlay: true });

export class Distribution {
  private constructor(
    readonly host: ParsHost,
    readonly guest: Guest,
    readonly dir: string,
  ) {}

  /** Starts it by its own kernel and initramfs; all it has was read, and its services answer. */
  static async boot(host: ParsHost, suite: DistributionSuite): Promise<Distribution> {
    const dir = await labScript('distribution-disks', suite);
    const guest = await host.lab.defineGuest({
      name: `distribution-${suite}`,
      boot: bootOf(dir),
      vcpus: 2,
      cpu: 'max',
      memoryMiB: MEMORY_MIB,
      cmdline: `root=/dev/mapper/lab-root ro ${QUIET}`,
      disks: [...DISKS.map((name) => overlay(join(dir, `${name}.raw`))), overlay(join(dir, 'tools.raw'))],
    });
    await guest.boot(BOOT_DEADLINE_MS);
    return new Distribution(host, guest, dir);
  }

  /** What checks of its file systems and its database find when it is off: `PARS-RESCUE ok` is nothing. */
  async rescued(): Promise<string> {
    const listed = await this.host.lab.virsh('domblklist', this.guest.uuid);
    const disks = listed
      .split('\n')
      .map((line) => line.trim().split(/\s+/)[1] ?? '')
      .slice(0, DISKS.length)
      .map((image): DiskImage => ({ image, format: 'qcow2' }));
    const rescue = await this.host.lab.defineGuest({
      name: `${this.guest.name}-rescue`,
      boot: bootOf(this.dir),
      vcpus: 2,
      cpu: 'max',
      memoryMiB: 1024,
      cmdline: 'root=LABEL=seed rw init=/usr/local/sbin/lab-stage lab.stage=rescue',
      disks: [...disks, overlay(join(this.dir, 'seed.raw')), raw(join(this.dir, 'tools.raw'))],
    });
    await rescue.start();
    return rescue.waitConsole(/^PARS-RESCUE /, RESCUE_DEADLINE_MS);
  }
}

function bootOf(dir: string): { kernel: string; initrd: string } {
  return { kernel: join(dir, 'vmlinuz'), initrd: join(dir, 'initrd') };
}
