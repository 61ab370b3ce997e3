// SPDX-License-Identifier: Apache-2.0
/** What may not, or cannot, be looked at is an error: never "nothing there". */
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { canBecomeNobody, parsAsNobody } from '../support/as-nobody.js';
import { smallImage } from '../support/image-builder.js';
import { type LocalFixture, localFixture } from '../support/local-store.js';
import { type Ran, runPars } from '../support/run-pars.js';

let fixture: LocalFixture;
let root: string;
let image: string;

beforeEach(async () => {
  fixture = await localFixture();
  root = mkdtempSync(join(tmpdir(), 'pars-unseen-'));
  chmodSync(root, 0o755);
  for (const name of ['saves', 'state']) mkdirSync(join(root, name), { mode: 0o700 });
  image = join(root, 'saves', 'g.save');
  configure(`store: local:${fixture.path}\nstate_dir: ${root}/state\n`);
});
afterEach(async () => {
  rmSync(root, { recursive: true, force: true });
  await fixture.dispose();
});

function configure(text: string): void {
  writeFileSync(join(root, 'pars.yaml'), text, { mode: 0o644 });
}

const common = (): string[] => ['--config', join(root, 'pars.yaml')];
const places = (): string[] => ['--save-dir', join(root, 'saves'), ...common()];
const pars = (...argv: string[]): Promise<Ran> => runPars(...argv, ...common());
const unreachable = 6,
  refused = 3,
  missing = 4,
  usage = 2;

interface Checks {
  checks: { name: string; outcome: string; kind: string | null; found: string }[];
}

describe.skipIf(!canBecomeNobody)('to a user who may not look', () => {
  beforeEach(async () => {
    writeFileSync(image, smallImage().bytes);
    for (const directory of fixture.directories) renameSync(directory, `${directory}.away`);
    expect((await pars('offload', image)).exitCode).toBe(unreachable);
    expect((await runPars('status', ...places())).exitCode).toBe(unreachable);
    for (const directory of fixture.directories) renameSync(`${directory}.away`, directory);
  });

  it.each([
    ['the state', ['status'], 'state'],
    ['the saves', ['status'], 'saves'],
    ['the state', ['metrics'], 'state'],
    ['the saves', ['metrics'], 'saves'],
  ])('%s, "pars %s" is not green', (_, command, closed) => {
    chmodSync(join(root, closed === 'state' ? 'saves' : 'state'), 0o755);
    if (closed === 'saves') rmSync(join(root, 'state'), { recursive: true });
    const { exitCode, stdout, stderr } = parsAsNobody(...command, ...places());
    expect({ exitCode, stdout }).toEqual({ exitCode: refused, stdout: '' });
    expect(stderr).toContain(join(root, closed));
    expect(stderr).toContain('run pars as root');
  });

  it('a managed save, "pars status" names it', () => {
    rmSync(join(root, 'state'), { recursive: true });
    chmodSync(join(root, 'saves'), 0o755);
    chmodSync(image, 0o600);
    const { exitCode, stdout } = parsAsNobody('status', ...places());
    expect(exitCode).toBe(refused);
    expect(stdout).toContain(`${image} may not be opened by this user`);
    expect(parsAsNobody('metrics', ...places()).stdout).toContain('\npars_blind_spots 1\n');
  });

  it('a save in a watched directory, "pars status" names it, and all else', () => {
    rmSync(join(root, 'state'), { recursive: true });
    chmodSync(join(root, 'saves'), 0o755);
    chmodSync(image, 0o644);
    mkdirSync(join(root, 'watched'), { mode: 0o755 });
    const watched = join(root, 'watched', 'w.sav');
    writeFileSync(watched, smallImage().bytes, { mode: 0o600 });
    configure(`store: local:${fixture.path}\nstate_dir: ${root}/state\nwatch: [${root}/watched]\n`);
    const { exitCode, stdout } = parsAsNobody('status', ...places());
    expect(exitCode).toBe(refused);
    expect(stdout).toContain(`${watched} may not be opened by this user`);
    expect(stdout).toContain(image);
  });

  it('one failed job, "pars status" does not pass it over', () => {
    for (const name of ['state', 'saves', 'state/jobs']) chmodSync(join(root, name), 0o755);
    expect(parsAsNobody('status', ...places())).toMatchObject({ exitCode: refused, stdout: '' });
  });

  it('the store, "pars list" is not an empty list', () => {
    chmodSync(join(root, 'state'), 0o755);
    const { exitCode, stdout, stderr } = parsAsNobody('list', ...common());
    expect({ exitCode, stdout }).toEqual({ exitCode: unreachable, stdout: '' });
    expect(stderr).toContain('what is stored there is not lost');
    expect(stderr).not.toContain('set up a new store');
  });

  it('"pars doctor" says of each look that it could not be had', () => {
    writeFileSync(join(root, 'qemu.conf'), '', { mode: 0o600 });
    mkdirSync(join(root, 'saves', 'below'));
    const argv = [
      '--save-dir',
      join(root, 'saves', 'below'),
      '--qemu-conf',
      join(root, 'qemu.conf'),
      ...common(),
      '--json',
    ];
    const { exitCode, stdout } = parsAsNobody('doctor', ...argv);
    expect(exitCode).not.toBe(0);
    const { checks } = JSON.parse(stdout) as Checks;
    for (const [name, kind] of [
      ['save format', 'refused'],
      ['offloads', 'refused'],
      ['save room', 'refused'],
      ['store', 'unreachable'],
    ]) {
      expect(checks.find((check) => check.name === name)).toMatchObject({ outcome: 'failure', kind });
    }
  });
});

describe('what is damaged', () => {
  it('is no job that never was: its note counts as failed', async () => {
    writeFileSync(image, smallImage().bytes);
    expect((await pars('offload', image)).exitCode).toBe(0);
    mkdirSync(join(root, 'state', 'jobs'), { recursive: true });
    const note = join(root, 'state', 'jobs', 'offload-000000000000000000000000.json');
    writeFileSync(note, '{"kind": "off');
    const { exitCode, stdout } = await runPars('status', ...places());
    expect(exitCode).toBe(5);
    expect(stdout).toContain(note);
  });

  it('is no ledger of nothing: it is said, and not written over', async () => {
    writeFileSync(join(root, 'state', 'ledger.json'), '{"guests"');
    writeFileSync(image, smallImage().bytes);
    expect((await pars('offload', image)).exitCode).toBe(0);
    expect(await runPars('metrics', ...places())).toMatchObject({
      exitCode: 5,
      stderr: expect.stringContaining('ledger.json') as string,
    });
  });
});

describe('pars status', () => {
  it('says so when nothing is configured', async () => {
    configure(`state_dir: ${root}/state\n`);
    const { exitCode, stdout, stderr } = await runPars('status', ...places());
    expect(exitCode).toBe(usage);
    expect(`${stdout}${stderr}`).toContain('no store is configured');
  });

  it('says so when there is no directory of saves', async () => {
    const { exitCode, stdout, stderr } = await pars('status', '--save-dir', join(root, 'none'));
    expect(exitCode).toBe(missing);
    expect(`${stdout}${stderr}`).toContain(`there is no directory ${join(root, 'none')}`);
  });
});
