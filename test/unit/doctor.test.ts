// SPDX-License-Identifier: Apache-2.0
/** `pars doctor`: each look on a host that is right, and on one where that one thing is wrong. */
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import pc from 'picocolors';
import { type Check, checked, failure, ok, outcomeOf, warning } from '../../src/doctor/check.js';
import { checkConfinement, checkSaveFormat, checkVersions } from '../../src/doctor/libvirt.js';
import { checkHook } from '../../src/doctor/hook.js';
import { checkDisks } from '../../src/doctor/disks.js';
import { checkJobs } from '../../src/doctor/doctor.js';
import { checkRetention } from '../../src/doctor/retention.js';
import { checkStore } from '../../src/doctor/store.js';
import { ParsError } from '../../src/errors.js';
import { renderChecks } from '../../src/ui/doctor.js';
import { formatBytes } from '../../src/ui/units.js';
import { hookPath } from '../../src/install/install.js';
import { loadConfig } from '../../src/policy/config.js';
import { presetPolicy } from '../../src/policy/policy.js';
import { asJob } from '../../src/journal/jobs.js';
import { storeSnapshot } from '../support/stored-snapshot.js';
import { filesIn, localFixture } from '../support/local-store.js';

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pars-doctor-'));
});
afterEach(() => rm(root, { recursive: true }));

async function file(path: string, text: string, mode = 0o644): Promise<string> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
  await chmod(join(root, path), mode);
  return join(root, path);
}

const outcomes = (checks: readonly Check[]): string[] =>
  checks.map(({ name, outcome }) => `${name}: ${outcome}`);

describe('the format of saves', () => {
  it.each([
    ['', 'ok'],
    ['save_image_format = "raw"\n', 'ok'],
    ['# save_image_format = "zstd"\n', 'ok'],
    ['save_image_format = "gzip"\n', 'ok'],
    ['save_image_format = "sparse"\n', 'ok'],
    ['save_image_format = "raw"\n  save_image_format="lz4"\n', 'warning'],
  ])('%j: %s', async (text, outcome) => {
    expect(await checkSaveFormat(await file('qemu.conf', text))).toMatchObject({ outcome });
  });

  it('a host without qemu.conf saves raw', async () => {
    expect(await checkSaveFormat(join(root, 'none'))).toMatchObject({ outcome: 'ok' });
  });
});

describe('a libvirt on which refused starts', () => {
  afterEach(() => vi.unstubAllEnvs());

  it.each([
    ['9.0.0', 'ok', /libvirt 9\.0/],
    ['11.3.0', 'ok', /libvirt 11\.3/],
    ['10.2.0', 'warning', /not on 10\.2/],
    ['11.30.0', 'warning', /not on 11\.30/],
  ])('were tried or not: %s', async (version, outcome, found) => {
    await file(
      'virsh',
      `#!/bin/sh\necho 'Using API: QEMU ${version}'\necho 'Running hypervisor: QEMU 7.2.0'\n`,
      0o755,
    );
    vi.stubEnv('PATH', `${root}:${process.env['PATH'] ?? ''}`);
    const check = (await checkVersions()).find(({ name }) => name === 'refused starts');
    expect(check).toMatchObject({ outcome, found: expect.stringMatching(found) as string });
  });
});

describe('virsh', () => {
  afterEach(() => vi.unstubAllEnvs());

  it('that is not installed is said to be so', async () => {
    vi.stubEnv('PATH', root);
    expect(await checkVersions()).toMatchObject([
      { name: 'libvirt', kind: 'missing', todo: expect.stringContaining('libvirt-clients') as string },
    ]);
  });

  it('that cannot reach libvirt tells why', async () => {
    const lines = 'error: failed to connect to the hypervisor\nerror: Failed to connect socket: no such file';
    await file('virsh', `#!/bin/sh\necho '${lines}' >&2\nexit 1\n`, 0o755);
    vi.stubEnv('PATH', `${root}:${process.env['PATH'] ?? ''}`);
    expect(await checkVersions()).toMatchObject([
      { kind: 'unreachable', found: expect.stringContaining('Failed to connect socket') as string },
    ]);
  });
});

describe('disks that nobody can compare', () => {
  afterEach(() => vi.unstubAllEnvs());

  it.each([
    [false, 'warning'],
    [true, 'ok'],
  ])('are told of, also where they are accepted (%s)', async (accepted, outcome) => {
    const disk = `<disk type="vhostuser" device="disk"><target dev="vda" bus="virtio"/></disk>`;
    const xml = `<domain type="kvm"><name>web</name><devices>${disk}</devices></domain>`;
    await file(
      'virsh',
      `#!/bin/sh\ncase "$*" in *--uuid*) echo u ;; *dumpxml*) echo '${xml}' ;; *) echo web ;; esac\n`,
      0o755,
    );
    vi.stubEnv('PATH', `${root}:${process.env['PATH'] ?? ''}`);
    const found = expect.stringMatching(/^web: .*vda/) as string;
    expect(await checkDisks(accepted)).toMatchObject([{ outcome, found }]);
  });
});

describe('offloads and refills', () => {
  it('are told of as long as "pars status" tells of them', async () => {
    const image = await file('web.save', 'whole');
    const failed = asJob(root, 'offload', image, () => Promise.reject(new Error('no')));
    await expect(failed).rejects.toThrow('no');
    expect(await checkJobs(root)).toMatchObject({ outcome: 'warning' });
    await rm(image);
    expect(await checkJobs(root)).toMatchObject({ outcome: 'ok' });
  });
});

describe('who confines libvirtd', () => {
  it('nobody', async () => expect(await checkConfinement(root)).toMatchObject({ outcome: 'ok' }));
  it('SELinux', async () => {
    await file('sys/fs/selinux/enforce', '1\n');
    expect(await checkConfinement(root)).toMatchObject({
      outcome: 'warning',
      todo: expect.stringMatching(/virt_hooks_unconfined.*restorecon.*ausearch/) as string,
    });
  });
  it('AppArmor, until a local rule names pars', async () => {
    await file('sys/kernel/security/apparmor/profiles', 'man_groff (enforce)\nlibvirtd (enforce)\n');
    expect(await checkConfinement(root)).toMatchObject({
      outcome: 'warning',
      todo: expect.stringContaining('apparmor.d/local') as string,
    });
    await file('etc/apparmor.d/local/usr.sbin.libvirtd', '/usr/local/lib/pars/** rmUx,\n');
    expect(await checkConfinement(root)).toMatchObject({ outcome: 'ok' });
  });
});

describe('the hook', () => {
  const script = (words: Record<string, string>): string =>
    `#!/bin/sh\n# The libvirt hook of Pars\n${Object.entries(words)
      .map(([name, word]) => `${name}='${word}'`)
      .join('\n')}\n`;
  const whole = { node: process.execPath, program: process.execPath, reader: process.execPath };

  it.each([
    ['absent', null, 0o755, 'missing'],
    ['of somebody else', '#!/bin/sh\nexit 0\n', 0o755, 'refused'],
    ['not executable', script(whole), 0o644, 'missing'],
    ['without its node', script({ ...whole, node: '/nowhere/node' }), 0o755, 'missing'],
    ['without its program', script({ ...whole, program: '/nowhere/cli.js' }), 0o755, 'missing'],
  ])('%s is a failure that names the way out', async (_, text, mode, kind) => {
    const path = await hookPath(root).catch(() => null);
    if (path === null) return; // no libvirt on this machine: nothing to hook into
    if (text !== null) await file(path.slice(root.length + 1), text, mode);
    const checks = await checkHook(root, root);
    expect(checks).toHaveLength(1);
    expect(checks[0]).toMatchObject({
      outcome: 'failure',
      kind,
      todo: expect.stringContaining('pars hooks install') as string,
    });
  });
});

describe('the store', () => {
  it('is written, proved and left as it was; one device for all is a warning', async () => {
    const fixture = await localFixture();
    try {
      const before = await filesIn(fixture.directories);
      const checks = await checkStore(fixture.store, presetPolicy('lean'), formatBytes);
      expect(outcomes(checks)).toEqual(
        expect.arrayContaining(['store: ok', 'store: warning', 'store writable: ok']),
      );
      expect(await filesIn(fixture.directories)).toEqual(before);
      await rm(fixture.directories[0] ?? '', { recursive: true });
      expect(
        outcomes(await checked('store', () => checkStore(fixture.store, presetPolicy('lean'), formatBytes))),
      ).toContain('store: failure');
    } finally {
      await fixture.dispose();
    }
  });
});

describe('what of the store may go', () => {
  it('is not called needed where nobody can tell', async () => {
    const fixture = await localFixture();
    try {
      await storeSnapshot(fixture.store);
      const config = await loadConfig({}, join(root, 'none'));
      const check = await checkRetention(fixture.store, { ...config, stateDir: root }, formatBytes);
      expect(check).toMatchObject({ outcome: 'ok', found: expect.not.stringContaining('needs') as string });
    } finally {
      await fixture.dispose();
    }
  });
});

describe('erasure coding', () => {
  it('that the store cannot do is a failure, and the copies are looked at all the same', async () => {
    const fixture = await localFixture();
    try {
      const checks = await checkStore(
        fixture.store,
        { ...presetPolicy('lean'), coding: 'RS-3-2-1024k' },
        formatBytes,
      );
      expect(outcomes(checks)).toEqual(
        expect.arrayContaining(['store writable: ok', 'erasure coding: failure']),
      );
      expect(checks.find(({ name }) => name === 'erasure coding')).toMatchObject({
        kind: 'refused',
        found: expect.stringContaining('RS-3-2-1024k') as string,
      });
    } finally {
      await fixture.dispose();
    }
  });
});

describe('a look that throws', () => {
  it('is a failure with the hint of its error, and the others go on', async () => {
    const checks = await checked('store', () =>
      Promise.reject(new ParsError('unreachable', 'nobody answers', { hint: 'plug it in' })),
    );
    expect(checks).toEqual([failure('store', 'unreachable', 'nobody answers', 'plug it in')]);
    expect(outcomeOf([...checks, ok('a', 'b')])).toBe('failure');
    expect(outcomeOf([warning('a', 'b', 'c')])).toBe('warning');
    expect(renderChecks([...checks, ok('config', 'fine\u001b[2J')], pc.createColors(false))).toBe(
      'failure  store   nobody answers\n                 plug it in\nok       config  '
        + 'fine\ufffd[2J\n\n1 failure, 0 warnings: this host is not safe to rely on yet.',
    );
  });
});
