// SPDX-License-Identifier: Apache-2.0
/**
 * Save directories on real file systems: an image becomes a stub and the same image again, and a copy that
 * shares its blocks stays what it was; or it is refused, and stays whole. Loop mounts in a namespace of the
 * test's own: needs root; needs no libvirt.
 */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { smallImage } from '../support/image-builder.js';

const possible =
  spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0
  && spawnSync('losetup', ['--find']).status === 0;
if (!possible) {
  if (process.env['CI']) throw new Error('tests of file systems need root, unshare and loop devices');
  console.warn('SKIPPED: saves on other file systems, because this is not root, or mounts are not allowed');
}

/** What makes it in the file $image; whether its copies share blocks. */
const FILE_SYSTEMS: [name: string, make: string][] = [
  ['ext4', 'mkfs.ext4 -q'],
  ['XFS with reflink', 'mkfs.xfs -q -m reflink=1'],
  ['XFS without reflink', 'mkfs.xfs -q -m reflink=0'],
  ['btrfs', 'mkfs.btrfs -q'],
];

describe.skipIf(!possible)('a save directory on', () => {
  let root: string;

  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'pars-systems-'));
    for (const name of ['d1', 'd2', 'd3', 'mount']) mkdirSync(join(root, name));
    const stores = ['d1', 'd2', 'd3'].map((name) => join(root, name)).join(',');
    writeFileSync(join(root, 'pars.yaml'), `store: local:${stores}\nstate_dir: ${root}/state\n`);
    writeFileSync(join(root, 'original'), smallImage({ frames: 3000 }).bytes);
    execFileSync(process.execPath, ['dist/cli.js', 'store', 'init', '--allow-same-device', ...config()]);
  });
  afterAll(() => root && rmSync(root, { recursive: true, force: true }));

  const config = (): string[] => ['--config', join(root, 'pars.yaml')];

  /** Lines that it prints; the first command that fails ends it. */
  async function run(make: string, steps: string): Promise<string[]> {
    const script = `
      truncate -s 400M ${root}/device && ${make} ${root}/device >/dev/null
      mount -o loop ${root}/device ${root}/mount
      pars() { ${process.execPath} dist/cli.js "$@" ${config().join(' ')} >/dev/null; }
      cd ${root}/mount && mkdir saves && cd - >/dev/null
      image=${root}/mount/saves/g.save copy=${root}/mount/copy
      cp ${root}/original $image
      ${steps}`;
    const { stdout } = await promisify(execFile)('unshare', ['--mount', 'sh', '-ec', script]);
    rmSync(join(root, 'device'));
    return stdout.trim().split('\n');
  }

  it.each(FILE_SYSTEMS)('%s: a stub, and the very image again', async (_, make) => {
    const said = await run(
      make,
      `cp --reflink=auto $image $copy; sync
      pars offload --managed-save $image && sync
      [ $(( $(stat -c %b $image) * 512 )) -lt $(( $(stat -c %s $image) - 1000000 )) ] && echo stub
      cmp $copy ${root}/original && echo 'the copy is unharmed'
      pars hydrate $image && cmp $image ${root}/original && echo 'the image again'
      cmp $copy ${root}/original && echo 'the copy is unharmed'`,
    );
    expect(said).toEqual(['stub', 'the copy is unharmed', 'the image again', 'the copy is unharmed']);
  });
});
