// SPDX-License-Identifier: Apache-2.0
/** The drop-ins that order the systemd units by what this host mounts, and by its libvirt. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  escaped,
  forgetOrder,
  neededDirectories,
  orderUnits,
  unitsOutOfOrder,
} from '../../src/install/unit-order.js';
import { loadConfig } from '../../src/policy/config.js';

let root: string;
let units: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pars-order-'));
  units = join(root, 'units');
  mkdirSync(join(root, 'bin'));
  standIn('systemctl', `echo "$@" >>${root}/systemctl`);
  vi.stubEnv('PATH', `${root}/bin:${process.env['PATH'] ?? ''}`);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

function standIn(name: string, body: string): void {
  writeFileSync(join(root, 'bin', name), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
}

const libvirt = (version: string): void => standIn('libvirtd', `echo "libvirtd (libvirt) ${version}"`);
const dropIn = (unit: string): string => join(units, `${unit}.service.d/pars-order.conf`);
const textOf = (unit: string): string => readFileSync(dropIn(unit), 'utf8');
const DIRECTORIES = ['/srv/d1', '/srv/disk 2'];

describe('the drop-ins', () => {
  it('order after every mount that the directories may be on, and after their automounts', async () => {
    libvirt('9.0.0');
    expect(await orderUnits(DIRECTORIES, units, root)).toHaveLength(3);
    for (const unit of ['pars-drain', 'pars-wake', 'pars-offload'])
      expect(
        textOf(unit)
          .split('\n')
          .filter((line) => line.startsWith('After=')),
      ).toEqual([
        'After=srv-d1.automount',
        'After=srv-d1.mount',
        'After=srv-disk\\x202.automount',
        'After=srv-disk\\x202.mount',
        'After=srv.automount',
        'After=srv.mount',
      ]);
    expect(readFileSync(join(root, 'systemctl'), 'utf8')).toBe('daemon-reload\n');
  });

  it.each([
    ['9.0.0', false],
    ['11.1.0', false],
    ['11.2.0', true],
    ['12.8.0', true],
  ])(
    'with libvirt %s: drained once its daemon, which saves guests itself, has stopped: %s',
    async (v, is) => {
      libvirt(v);
      await orderUnits(DIRECTORIES, units, root);
      expect(textOf('pars-drain').includes('Before=libvirtd.service virtqemud.service')).toBe(is);
      expect(textOf('pars-wake')).not.toContain('Before=');
    },
  );

  it('are written once, and renewed when the store has changed', async () => {
    libvirt('9.0.0');
    expect(await unitsOutOfOrder(DIRECTORIES, units)).toHaveLength(3);
    await orderUnits(DIRECTORIES, units, root);
    expect(await orderUnits(DIRECTORIES, units, root)).toEqual([]);
    expect(await unitsOutOfOrder(DIRECTORIES, units)).toEqual([]);
    expect(await unitsOutOfOrder(['/srv/d1'], units)).toHaveLength(3);
    expect(await orderUnits(['/srv/d1'], units, root)).toHaveLength(3);
    expect(textOf('pars-drain')).not.toContain('disk');
  });

  it('are not written where systemd does not run, and go with the hook', async () => {
    libvirt('9.0.0');
    expect(await orderUnits(DIRECTORIES, units, join(root, 'none'))).toEqual([]);
    expect(existsSync(units)).toBe(false);
    await orderUnits(DIRECTORIES, units, root);
    expect(await forgetOrder(units)).toHaveLength(3);
    expect(existsSync(dropIn('pars-drain'))).toBe(false);
    expect(await forgetOrder(units)).toEqual([]);
  });
});

it('what the configuration needs: the directories of a local store, saves and state', async () => {
  const config = await loadConfig({ store: 'local:/srv/d1,/srv/d2' }, join(root, 'none'));
  expect(neededDirectories(config, '/saves')).toEqual(['/srv/d1', '/srv/d2', '/saves', '/var/lib/pars']);
  const hdfs = { ...config, store: 'webhdfs://nn1:9870/pars' };
  expect(neededDirectories(hdfs, '/saves')).toEqual(['/saves', '/var/lib/pars']);
});

const hasEscape = spawnSync('systemd-escape', ['--version']).status === 0;

it.skipIf(!hasEscape).each(['/srv', '/srv/d-1', '/srv/.hidden', '/mnt/a b/ü', '/.x', '/a//b/', '/x:y_z.w'])(
  "the name of a unit for %s is systemd's own",
  (path) => {
    expect(escaped(path)).toBe(execFileSync('systemd-escape', ['--path', path], { encoding: 'utf8' }).trim());
  },
);
