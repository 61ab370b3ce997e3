// SPDX-License-Identifier: Apache-2.0
/** The questions of `pars init`, asked of somebody at a terminal: the built program on a real one. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/errors.js';
import { Terminal } from '../support/terminal.js';

const PROGRAM = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
let root: string;
let terminal: Terminal;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pars-questions-'));
  await mkdir(join(root, 'hooks'));
});
afterEach(async () => {
  terminal.stop();
  await rm(root, { recursive: true });
});

function init(): Terminal {
  return new Terminal(
    'init',
    '--no-timer',
    ...['--config', join(root, 'pars.yaml'), '--prefix', join(root, 'program')],
    ...['--hooks-dir', join(root, 'hooks'), '--save-dir', root],
  );
}

describe.skipIf(spawnSync('script', ['--version']).status !== 0)('pars init at a terminal', () => {
  it('asks for store and policy, again where an answer will not do, changing nothing too soon', async () => {
    terminal = init();
    await terminal.answer(
      /mount point of a disk of its own[^]*Store( \[.*\])?: $/,
      `${join(root, 'd1')}, ${root}/d2\n`,
    );
    await terminal.answer(/replicate-all 3 3 3[^]*Policy \[lean\]: $/, 'leen\n');
    await terminal.answer(/one of replicate-all, pars, lean, minimal\r?\n[^]*Policy \[lean\]: $/, '\n');
    const { code, seen } = await terminal.end();
    expect(seen).toMatch(/2 directories/);
    expect(code).toBe(EXIT_CODES.refused);
    expect(existsSync(join(root, 'pars.yaml'))).toBe(false);
    expect(await readdir(join(root, 'hooks'))).toEqual([]);
  }, 120_000);

  it('asks as whom to work in HDFS, and over TLS for the authority', async () => {
    terminal = init();
    await terminal.answer(/Store( \[.*\])?: $/, 'swebhdfs://127.0.0.1:1/pars\n');
    await terminal.answer(/delegation token[^]*User or token file \[\w+\]: $/, `${root}/a token\n`);
    await terminal.answer(/Authority \[the system's\]: $/, `${root}/ca.pem\n`);
    await terminal.answer(/Policy \[lean\]: $/, '\n');
    const { code, seen } = await terminal.end();
    expect(seen).toContain(`${root}/ca.pem`);
    expect(code).not.toBe(0);
    expect(existsSync(join(root, 'pars.yaml'))).toBe(false);
    expect(await readdir(join(root, 'hooks'))).toEqual([]);
  }, 120_000);

  it('is left by Ctrl-C, with nothing changed', async () => {
    terminal = init();
    await terminal.answer(/Store( \[.*\])?: $/, '\u0003');
    expect((await terminal.end()).code).toBe(130);
    expect(existsSync(join(root, 'pars.yaml'))).toBe(false);
  }, 120_000);

  it('asks nobody where there is no terminal, and says what to give', () => {
    const args = ['init', '--config', join(root, 'pars.yaml'), '--hooks-dir', join(root, 'hooks')];
    const { status, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], {
      input: '',
      encoding: 'utf8',
    });
    expect(status).toBe(EXIT_CODES.usage);
    expect(stderr).toMatch(/which store is this host to use\?[^]*pars init --store local:/);
  });
});
