// SPDX-License-Identifier: Apache-2.0
/**
 * Full disks, real ones: small tmpfs in a mount namespace of the test's own. Needs root; needs no libvirt.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { compressImage } from '../support/compressed.js';
import { smallImage, sparseImage } from '../support/image-builder.js';
import { buildEntry } from '../support/kill-lab.js';

const possible = await promisify(execFile)('unshare', [
  '--mount',
  'mount',
  '-t',
  'tmpfs',
  'tmpfs',
  '/mnt',
]).then(
  () => true,
  () => false,
);
if (!possible) {
  if (process.env['CI']) throw new Error('tests of full disks need root and unshare');
  console.warn('SKIPPED: full disks, because this is not root, or mounts are not allowed');
}

describe.skipIf(!possible)('a full disk', () => {
  it(
    'in the store leaves the image whole and nothing half in the store; in the save directory it '
      + 'leaves the stub, of a compressed and of a sparse image too',
    async () => {
      await buildEntry();
      const root = mkdtempSync(join(tmpdir(), 'pars-full-'));
      const image = join(root, 'image');
      const { bytes, streamOffset } = smallImage();
      writeFileSync(image, bytes);
      const compressed = join(root, 'compressed');
      writeFileSync(compressed, compressImage(bytes, 'zstd'));
      const sparse = join(root, 'sparse');
      writeFileSync(sparse, sparseImage().bytes);
      const script = [
        '--mount',
        '--propagation',
        'private',
        'test/support/full-disk.sh',
        process.execPath,
        'build/kill-entry.mjs',
        root,
        image,
        String(statSync(image).size),
        compressed,
        String(statSync(compressed).size),
        String(streamOffset),
        sparse,
        String(statSync(sparse).size),
      ];
      const { stdout } = await promisify(execFile)('unshare', script).finally(() =>
        rmSync(root, { recursive: true, force: true }),
      );
      const said = stdout
        .split('\n')
        .slice(0, -1)
        .map((line): [string, string] => [
          line.slice(0, line.indexOf(':')),
          line.slice(line.indexOf(':') + 2),
        ]);
      const kibOf = said.filter(([what]) => what === 'stub KiB').map(([, kib]) => Number(kib));
      const kinds = said
        .filter(([what]) => what !== 'stub KiB')
        .map(([what, answer]) => [
          what,
          answer.startsWith('{') ? (JSON.parse(answer) as { kind: string }).kind : answer,
        ]);
      expect(kinds).toEqual([
        ['store full', 'no-space'],
        ['image still whole', 'yes'],
        ['objects left', '0'],
        ['store has room', 'done'],
        ['save directory full', 'no-space'],
        ['save directory has room', 'done'],
        ['image again', 'yes'],
        ['no room to unpack', 'no-space'],
        ['compressed image still whole', 'yes'],
        ['room to unpack', 'done'],
        ['room for its old length only', 'no-space'],
        ['room for more', 'done'],
        ['same stream again', 'yes'],
        ['sparse', 'done'],
        ['no room to ask for', 'no-space'],
        ['full after it was asked for', 'no-space'],
        ['room for sparse', 'done'],
        ['sparse image again', 'yes'],
      ]);
      expect(kibOf).toHaveLength(7);
      expect(Math.max(...kibOf), 'the stub stays small').toBeLessThan(5 << 10);
    },
  );
});
