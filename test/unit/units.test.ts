// SPDX-License-Identifier: Apache-2.0
/** The systemd units: what a service that was taken over can still do. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const UNITS = 'contrib/systemd';
const services = readdirSync(UNITS).filter((name) => name.endsWith('.service'));
/**
 * Of systemd-analyze, from 10 down. What is left, and why, stands in the units and in docs/security.md: root,
 * its capabilities for jails and other users' files, the network, every directory, devices that are read.
 */
const MOST = 3.6;
const canAnalyze = spawnSync('systemd-analyze', ['security', '--offline=true', '--help']).status === 0;
if (!canAnalyze) {
  if (process.env['CI']) throw new Error('the units are rated by systemd-analyze of systemd 250 or later');
  console.warn('SKIPPED: the rating of the units, for want of systemd-analyze');
}

it.skipIf(!canAnalyze).each(services)(`%s is exposed by at most ${MOST} (row 13)`, (service) => {
  const said = execFileSync('systemd-analyze', ['security', '--offline=true', join(UNITS, service)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  expect(Number(/Overall exposure level for \S+: ([\d.]+)/.exec(said)?.[1])).toBeLessThanOrEqual(MOST);
});

const bounds = services.map((service) => {
  const text = readFileSync(join(UNITS, service), 'utf8');
  return /^NoNewPrivileges=yes\n(?:.+\n)+/m.exec(text)?.[0];
});

it('have the same bounds, and each its limits of memory and processes (row 13)', () => {
  expect(new Set(bounds).size).toBe(1);
  for (const line of ['MemoryMax=', 'TasksMax=', 'CapabilityBoundingSet=CAP_'])
    expect(bounds[0]).toContain(line);
});

it('are as bounded as the worker that the hook starts (row 13)', () => {
  const hook = readFileSync('hooks/qemu', 'utf8');
  const bounded = /^bounded\(\) \{\n[^}]*\n\}/m.exec(hook)![0];
  const printing = bounded.replace('systemd-run', "printf '%s\\n'");
  const given = execFileSync('/bin/sh', ['-c', `${printing}\nbounded`], { encoding: 'utf8' });
  expect(given.replace(/^-p\n/gm, '')).toBe(bounds[0]!.replace(/ \\\n +/g, ' '));
});
