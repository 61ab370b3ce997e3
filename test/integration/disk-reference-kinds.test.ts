// SPDX-License-Identifier: Apache-2.0
/**
 * Page cache that stays on the guest's own disk, on disks and in images of other kinds: ext4 with blocks of
 * 1 KiB, XFS, a block device of the host's, sparse and compressed images. The guest resumes and reads nothing
 * again.
 */
import { execFile } from 'node:child_process';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, test } from 'vitest';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { expectSound } from '../support/guest-judge.js';
import { type Guest, labMissing, type LabOptions, libvirtVersion, type Suite } from '../support/lab.js';
import { ParsHost } from '../support/pars-host.js';
import { WHOLE } from '../support/whole.js';

const run = promisify(execFile);
/** ext4 reads its block bitmaps ahead in the background. */
const BITMAPS_BYTES = 256 << 10;

/** Its structures differ from kernel to kernel: these tell a module's types. */
const XFS_KERNELS: Suite[] = WHOLE ? ['bookworm', 'trixie', 'sid'] : ['trixie'];

interface Kind {
  what: string;
  saveFormat?: NonNullable<LabOptions['saveFormat']>;
  fs?: 'ext4' | 'xfs';
  kernel?: Suite;
  mkfs?: string;
  onDevice?: boolean;
  since?: number;
  /** In the gate as well. */
  always?: true;
}

const ALL: Kind[] = [
  { what: 'ext4 with blocks of 1 KiB', mkfs: '-b 1024' },
  ...XFS_KERNELS.map((kernel): Kind => ({ what: `XFS on ${kernel}`, fs: 'xfs', kernel, always: true })),
  { what: 'a block device', onDevice: true, always: true },
  { what: 'a sparse image', saveFormat: 'sparse', since: 11_002 },
  { what: 'a compressed image', saveFormat: 'gzip', always: true },
];
const KINDS = ALL.filter(({ since = 0, always }) => libvirtVersion() >= since && (always ?? WHOLE));

describe.skipIf(labMissing() !== undefined)('what the guest has on its disk', () => {
  let host: ParsHost | undefined;
  let device = '';

  afterEach(async () => {
    await host?.stop();
    host = undefined;
    if (device !== '') await run('losetup', ['-d', device]);
    device = '';
  });

  test.each(KINDS)(
    'comes back from it: $what',
    async ({ saveFormat, fs = 'ext4', kernel = 'trixie', mkfs, onDevice }) => {
      host = await ParsHost.start({ lab: saveFormat ? { saveFormat } : {} });
      await host.configure('lean\ndisk_references: auto');
      const guest = await host.lab.defineGuest({
        kernel,
        memoryMiB: 256,
        cmdline: 'pars.fill=40',
        disks: [{ fs, generate: 96, format: 'raw', ...(mkfs !== undefined && { mkfs }) }],
      });
      if (onDevice) await putOnDevice(host, guest);
      await guest.boot();
      await guest.managedSave();
      await host.pars('offload', guest.imagePath);
      const { manifest } = await host.json<{ manifest: Manifest }>('show', await host.snapshotOf(guest));
      const { classes, references } = manifest;
      const cached = classes['clean-cache'].payloadPages + classes['mapped-cache'].payloadPages;
      expect(manifest.format).toBe(4);
      expect(references?.pages).toBeGreaterThan(0.9 * cached);
      await host.pars('verify', '--disks');
      await host.pars('hydrate', guest.imagePath);
      await guest.start();
      const { line, reads } = await expectSound(guest);
      expect(reads * 512, line).toBeLessThan(BITMAPS_BYTES);
      console.log(`${references?.pages} of ${cached} pages; ${line}`);
    },
  );

  async function putOnDevice({ lab }: ParsHost, guest: Guest): Promise<void> {
    const [name = ''] = await readdir(join(lab.dir, 'disks'));
    const path = join(lab.dir, 'disks', name);
    device = (await run('losetup', ['--show', '-f', path])).stdout.trim();
    const xml = await lab.virsh('dumpxml', guest.uuid);
    const changed = join(lab.dir, 'on-device.xml');
    const source = new RegExp(`type='file'([^]*?)<source file='${path}'`);
    expect(xml).toMatch(source);
    await writeFile(changed, xml.replace(source, `type='block'$1<source dev='${device}'`));
    await lab.virsh('define', changed);
  }
});
