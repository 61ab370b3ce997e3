// SPDX-License-Identifier: Apache-2.0
/**
 * What references to the guest's own disk save, in time and in bytes, on a 1 GiB guest with real system
 * files: offload beside the same without references, and what is stored beside three copies of the image.
 * Figures, each the best of three taken turn by turn; what must hold on any machine is that references cost
 * no more than they save.
 */
import { execFile } from 'node:child_process';
import { copyFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { type Guest, labMissing } from '../support/lab.js';
import { ParsHost } from '../support/pars-host.js';

const run = promisify(execFile);
const ROUNDS = 3;
const SETTINGS = { references: 'lean\ndisk_references: auto', none: 'lean\ndisk_references: off' } as const;

describe.skipIf(labMissing() !== undefined)("references to the guest's disk", () => {
  let host: ParsHost;
  let guest: Guest;
  let whole: string;

  beforeAll(async () => {
    host = await ParsHost.start();
    guest = await host.boot({
      kernel: 'trixie',
      memoryMiB: 1024,
      cmdline: 'pars.fill=62',
      disks: [{ fs: 'ext4', from: '/usr', limit: 640, format: 'raw' }],
    });
    await guest.managedSave();
    whole = join(host.lab.dir, 'whole');
    await copyFile(guest.hostImagePath, whole);
  });
  afterAll(() => host?.stop());

  async function timed(work: () => Promise<unknown>): Promise<number> {
    await run('sync');
    const began = Date.now();
    await work();
    return (Date.now() - began) / 1000;
  }

  test('offload and hydrate', async () => {
    const times: Record<string, number[]> = {};
    const keep = (what: string, seconds: number): void => void (times[what] ??= []).push(seconds);
    const stored: Record<string, number> = {};
    for (let round = 0; round < ROUNDS; round++) {
      for (const [name, policy] of Object.entries(SETTINGS)) {
        await host.configure(policy);
        keep(`offload ${name}`, await timed(() => host.pars('offload', guest.imagePath)));
        const { manifest } = await host.json<{ manifest: Manifest }>('show', await host.snapshotOf(guest));
        stored[name] = manifest.storedBytes;
        keep(`hydrate ${name}`, await timed(() => host.pars('hydrate', guest.imagePath)));
      }
    }
    const best = Object.fromEntries(Object.entries(times).map(([what, all]) => [what, Math.min(...all)]));
    const packed = join(host.lab.dir, 'packed.zst');
    await run('zstd', ['-q', '-1', '-T2', whole, '-o', packed]);
    const [image, zstd] = [(await stat(whole)).size, (await stat(packed)).size];
    await rm(packed);
    const share = (bytes: number, of: number): string => `${(100 * (1 - bytes / (3 * of))).toFixed(1)} %`;
    console.log(JSON.stringify({ image, zstd, stored, best }, null, 1));
    for (const [name, bytes] of Object.entries(stored))
      console.log(`${name}: saved ${share(bytes, image)} of 3 x image, ${share(bytes, zstd)} of 3 x zstd -1`);
    expect(best['offload references']).toBeLessThan(best['offload none']!);
    expect(stored['references']).toBeLessThan(stored['none']!);
  });
});
