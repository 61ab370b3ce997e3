// SPDX-License-Identifier: Apache-2.0
/** The program as packages bring it: in few files, and started from what was compiled before. */
import { chmod, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';

let root = '';
const program = (): string => join(root, 'tree/dist/cli.js');
const cache = (): string => join(root, 'compiled');
const pars = async (...args: string[]): Promise<string> =>
  (await execa(program(), args, { env: { PARS_DEBUG: '1' } })).stdout;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'pars-packaged-'));
  await execa('node', ['scripts/bundle.js', join(root, 'tree'), process.execPath, cache(), 'a test']);
}, 60_000);
afterAll(() => rm(root, { recursive: true, force: true }));

test('each command is found, in a file of its own or in that of all', async () => {
  expect(await pars('--version')).toMatch(/^\d+\.\d+\.\d+ \(a test\)$/);
  expect(await pars('status', '--help')).toContain('Usage: pars status');
  expect(await pars('report', '--help')).toContain('Usage: pars report');
  expect(await pars('prune', '--help')).toContain('Usage: pars prune');
  expect(await pars('help', 'store', 'init')).toContain('Usage: pars store init');
  const mistyped = await execa(program(), ['statsu'], { reject: false });
  expect(mistyped.stderr).toContain('Did you mean status?');
});

const kept = async (): Promise<string[]> => (await readdir(cache())).sort();

test('what was compiled is kept, and used the next time', async () => {
  await pars('status', '--help');
  await pars('report', '--help');
  await pars('prune', '--help');
  const names = await kept();
  expect(names.map((name) => name.split('-')[0])).toEqual(['main', 'report', 'status']);
  const before = await Promise.all(names.map((name) => stat(join(cache(), name))));
  expect(before.map(({ mode }) => mode & 0o777)).toEqual([0o644, 0o644, 0o644]);
  await pars('status', '--help');
  const after = await Promise.all(names.map((name) => stat(join(cache(), name))));
  expect(after.map(({ ino }) => ino)).toEqual(before.map(({ ino }) => ino));
});

test('what others can write is made again, and so is what V8 does not take', async () => {
  await pars('status', '--help');
  const name = (await kept()).find((one) => one.startsWith('status-')) ?? '';
  const path = join(cache(), name);
  const spoil: (() => Promise<void>)[] = [
    () => chmod(path, 0o666),
    () => chmod(path, 0o620),
    () => writeFile(path, 'not compiled'),
  ];
  for (const spoilIt of spoil) {
    await spoilIt();
    const { ino } = await stat(path);
    expect(await pars('status', '--help')).toContain('Usage: pars status');
    expect((await stat(path)).ino).not.toBe(ino);
    expect((await stat(path)).mode & 0o777).toBe(0o644);
  }
});
