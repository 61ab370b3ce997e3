// SPDX-License-Identifier: Apache-2.0
/** Which checkpoints there are, which of them retention gives up, and what they are called. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import {
  type Checkpoint,
  checkpointsOf,
  expired,
  newCheckpointName,
} from '../../src/lifecycle/checkpoints.js';
import { realPathOf } from '../../src/system/real-path.js';

const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 10, 30, 12);

/** One an hour, the last of them now. */
function hourly(count: number): Checkpoint[] {
  return Array.from({ length: count }, (_, i) => ({
    name: `c${i}`,
    created: new Date(NOW - (count - 1 - i) * HOUR),
    memory: `/m/c${i}`,
    disks: [],
    state: 'stub' as const,
    stored: null,
  }));
}

it.each([
  [{ keepLast: null, maxAgeMs: null }, []],
  [{ keepLast: 3, maxAgeMs: null }, ['c0', 'c1']],
  [{ keepLast: 9, maxAgeMs: null }, []],
  [{ keepLast: null, maxAgeMs: 2 * HOUR }, ['c0', 'c1']],
  [{ keepLast: 4, maxAgeMs: 2 * HOUR }, ['c0', 'c1']],
  [{ keepLast: 1, maxAgeMs: 1 }, ['c0', 'c1', 'c2', 'c3']],
])('%j gives up %j of five, an hour apart', (retention, names) => {
  expect(expired(hourly(5), retention, NOW).map(({ name }) => name)).toEqual(names);
});

it('never gives up the only one, however old', () => {
  expect(expired(hourly(1), { keepLast: 1, maxAgeMs: 1 }, NOW + 99 * HOUR)).toEqual([]);
});

it('are called after their time, and no two alike', () => {
  const names = Array.from({ length: 8 }, () => newCheckpointName(new Date(NOW)));
  for (const name of names) expect(name).toMatch(/^pars-20261130T120000Z-[0-9a-f]{4}$/);
  expect(new Set(names).size).toBeGreaterThan(1);
});

it('are known as stubs whichever link libvirt names their memory by', async () => {
  const root = mkdtempSync(join(tmpdir(), 'pars-checkpoints-'));
  try {
    for (const name of ['real', 'bin']) mkdirSync(join(root, name));
    symlinkSync('real', join(root, 'link'));
    const name = newCheckpointName(new Date(NOW));
    const memory = join(root, 'link', `web.${name}.mem`);
    writeFileSync(memory, 'a stub');
    const xml =
      `<domainsnapshot><name>${name}</name><creationTime>1</creationTime>`
      + `<memory snapshot='external' file='${memory}'/><domain type='kvm'><devices/></domain>`
      + '</domainsnapshot>';
    const virsh = `case "$*" in *snapshot-list*) echo "${name}" ;; *snapshot-dumpxml*) echo "${xml}" ;; esac`;
    writeFileSync(join(root, 'bin/virsh'), `#!/bin/sh\n${virsh}\n`, { mode: 0o755 });
    vi.stubEnv('PATH', `${join(root, 'bin')}:${process.env['PATH'] ?? ''}`);
    const stub = {
      image: await realPathOf(memory),
      snapshot: 's',
      token: '1'.repeat(32),
      domainUuid: 'u',
      managedSave: false,
    };
    expect(await checkpointsOf('web', [stub])).toMatchObject([{ name, state: 'stub', stored: 's' }]);
  } finally {
    vi.unstubAllEnvs();
    rmSync(root, { recursive: true });
  }
});
