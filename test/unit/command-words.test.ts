// SPDX-License-Identifier: Apache-2.0
/** What commands say when something beside their work is not as it should be: true, and of use. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { EXIT_CODES } from '../../src/errors.js';
import { smallImage } from '../support/image-builder.js';
import { type LocalFixture, localFixture } from '../support/local-store.js';
import { type Ran, runPars } from '../support/run-pars.js';

let root: string;
let fixture: LocalFixture;

beforeEach(async () => {
  fixture = await localFixture();
  root = mkdtempSync(join(tmpdir(), 'pars-words-'));
  for (const name of ['bin', 'saves', 'state']) mkdirSync(join(root, name));
  writeFileSync(
    join(root, 'pars.yaml'),
    `store: local:${fixture.path}\nstate_dir: ${root}/state\nmetrics: {file: ${root}/pars.prom}\n`,
  );
  vi.stubEnv('PATH', `${root}/bin:${process.env['PATH'] ?? ''}`);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
  await fixture.dispose();
});

const pars = (...argv: string[]): Promise<Ran> => runPars(...argv, '--config', join(root, 'pars.yaml'));

function virsh(...cases: string[]): void {
  const text = `#!/bin/sh\ncase "$*" in ${cases.join(' ;; ')} ;; esac\n`;
  writeFileSync(join(root, 'bin/virsh'), text, { mode: 0o755 });
}

it('a report needs no store, and warns of one that cannot be used', async () => {
  const other = await localFixture();
  try {
    const image = join(root, 'saves', 'guest.save');
    writeFileSync(image, smallImage().bytes);
    const mixed = `local:${fixture.directories[0] ?? ''},${other.directories[0] ?? ''}`;
    const { exitCode, stdout } = await pars('report', image, '--store', mixed, '--json');
    expect(exitCode).toBe(0);
    const { warnings } = JSON.parse(stdout) as { warnings: string[] };
    expect(warnings).toEqual([expect.stringContaining('different stores')]);
    expect((await pars('report', image, '--store', 'nothing:of-ours')).exitCode).toBe(EXIT_CODES.usage);
  } finally {
    await other.dispose();
  }
});

it('a plan does not call missing what it cannot look at', async () => {
  virsh('*list*) ');
  symlinkSync('loop', join(root, 'loop'));
  const { exitCode, stderr } = await pars('plan', '--save-dir', join(root, 'loop'));
  expect(stderr).not.toContain('there is no');
  expect(exitCode).toBe(EXIT_CODES.unreachable);
  expect((await pars('plan', '--save-dir', join(root, 'none'))).exitCode).toBe(EXIT_CODES.missing);
});

it('a command in a hint can be pasted, whatever the guest is called', async () => {
  virsh('*dominfo*) echo "Name:           a \\$(id) b"', '*snapshot-list*) ');
  const { exitCode, stderr } = await pars('rollback', 'a $(id) b');
  expect(exitCode).toBe(EXIT_CODES.missing);
  expect(stderr).toContain("see: pars checkpoints 'a $(id) b'");
});

it('who stops a save before the offload is told where the memory is', async () => {
  const saved = join(root, 'saves', 'guest.save');
  writeFileSync(join(root, 'image'), smallImage().bytes);
  virsh('*dominfo*) echo "Name:           guest"', `*managedsave*) cp ${root}/image ${saved}; sleep 1`);
  const stop = setTimeout(() => process.emit('SIGINT', 'SIGINT'), 700);
  const { exitCode, stderr } = await pars('managedsave', 'guest', '--save-dir', join(root, 'saves'));
  clearTimeout(stop);
  expect(exitCode).toBe(130);
  expect(stderr).toContain('interrupted by SIGINT');
  expect(stderr).toContain(`the guest is saved in ${saved}`);
});

it('metrics that were written are told of in JSON too', async () => {
  const { exitCode, stdout } = await pars('metrics', '--write', '--json', '--save-dir', join(root, 'saves'));
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toEqual({ written: join(root, 'pars.prom') });
});

it('a queue that is stopped before it has begun is not said to be in other hands', async () => {
  writeFileSync(join(root, 'saves', 'guest.save'), smallImage().bytes);
  const before = process.listenerCount('SIGINT');
  const stop = setInterval(() => {
    if (process.listenerCount('SIGINT') === before) return;
    clearInterval(stop);
    process.emit('SIGINT', 'SIGINT');
  }, 1);
  const { exitCode, stdout, stderr } = await pars('offload', '--pending', '--save-dir', join(root, 'saves'));
  expect(stdout).toBe('');
  expect(stderr).toContain('interrupted by SIGINT');
  expect(exitCode).toBe(130);
});

it('a rollback that is stopped once it is made prints one JSON object', async () => {
  const name = 'pars-20261130T120000Z-0123';
  const memory = join(root, 'saves', 'guest.mem');
  writeFileSync(memory, smallImage().bytes);
  const xml =
    `<domainsnapshot><name>${name}</name><creationTime>1</creationTime>`
    + `<memory snapshot='external' file='${memory}'/><domain type='kvm'><devices/></domain></domainsnapshot>`;
  virsh(
    '*dominfo*) echo "Name:           guest"',
    `*snapshot-list*) echo ${name}`,
    `*snapshot-dumpxml*) echo "${xml}"`,
    '*snapshot-revert*) touch "$0.reverted"; sleep 1',
  );
  const stop = setInterval(() => {
    if (!existsSync(join(root, 'bin/virsh.reverted'))) return;
    clearInterval(stop);
    process.emit('SIGINT', 'SIGINT');
  }, 10);
  const { exitCode, stdout, stderr } = await pars('rollback', 'guest', '--json');
  expect(exitCode).toBe(130);
  expect(JSON.parse(stdout)).toMatchObject({ error: { message: 'interrupted by SIGINT' } });
  expect(stderr).toContain(`guest is back at ${name}`);
});
