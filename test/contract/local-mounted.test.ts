// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const SCRIPT = 'test/support/mounted-store.ts';

/** Mounts need root and a mount namespace of their own. */
async function canMount(): Promise<boolean> {
  if (process.getuid?.() !== 0) return false;
  return promisify(execFile)('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).then(
    () => true,
    () => false,
  );
}

const possible = await canMount();
if (!possible) {
  if (process.env['CI']) throw new Error('tests of mounted disks need root and unshare');
  console.warn('SKIPPED: a store on real mounts, because this is not root, or mounts are not allowed');
}

describe.skipIf(!possible)('a local store on file systems of its own', () => {
  it('R20, R22: a full disk leaves nothing behind; a disk unmounted under it is never written', async () => {
    const root = await mkdtemp(join(tmpdir(), 'pars-mounts-'));
    const { stdout } = await promisify(execFile)('unshare', [
      '--mount',
      '--propagation',
      'private',
      process.execPath,
      'node_modules/.bin/vite-node',
      SCRIPT,
      root,
    ]);
    await rm(root, { recursive: true });
    expect(JSON.parse(stdout)).toEqual({
      small: 'done',
      large: 'no-space',
      left: [['small'], ['small'], ['small']],
      claim: 'no-space',
      unmounted: 'unreachable',
      replaced: 'refused',
      mountPoint: [],
    });
  });
});
