// SPDX-License-Identifier: Apache-2.0
/** Files and directories that others own or may write: root obeys none of them. */
import { chmod, chown, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { canBecomeNobody } from '../support/as-nobody.js';
import { Hostile, MISSING } from '../support/hostile-hdfs.js';
import { runPars } from '../support/run-pars.js';

const SOMEBODY = 1234;
let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pars-owners-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** How an ordinary user may have a hand in a file, and what is said of it. */
const HANDS: Record<string, [prepare: (file: string) => Promise<unknown>, said: RegExp]> = {
  'that another owns': [(file) => chown(file, SOMEBODY, 0), /belongs to user 1234/],
  'that everybody may write': [(file) => chmod(file, 0o646), /may be written by everybody/],
  'that a group may write': [
    (file) => chown(file, 0, SOMEBODY).then(() => chmod(file, 0o664)),
    /may be written by group 1234/,
  ],
  'in a directory of another': [(file) => chown(join(file, '..'), SOMEBODY, 0), /belongs to user 1234/],
  'in a directory that everybody may write': [
    (file) => chmod(join(file, '..'), 0o777),
    /may be written by everybody/,
  ],
};

describe.skipIf(!canBecomeNobody)('what root obeys (row 10)', () => {
  const hostile = new Hostile();
  afterEach(() => hostile.stop());

  /** A file in a directory of its own, with what `text` says. */
  async function fileOf(text: string): Promise<string> {
    await mkdir(join(root, 'etc'), { mode: 0o755 });
    await writeFile(join(root, 'etc', 'file'), text, { mode: 0o644 });
    return join(root, 'etc', 'file');
  }

  it.each(Object.entries(HANDS))('is not a configuration %s', async (_, [prepare, said]) => {
    const file = await fileOf(`store: local:${root}/d1\n`);
    const call = ['store', 'status', '--config', file] as const;
    expect((await runPars(...call)).exitCode).toBe(6);
    await prepare(file);
    const { exitCode, stderr } = await runPars(...call);
    expect(stderr).toMatch(said);
    expect(stderr).toContain('chmod go-w');
    expect(exitCode).toBe(3);
  });

  it('is not a configuration behind a link into a home', async () => {
    const file = await fileOf('');
    await mkdir(join(root, 'home'));
    await symlink(file, join(root, 'home', 'link'));
    expect((await runPars('list', '--config', join(root, 'home', 'link'))).exitCode).toBe(2);
    await chown(join(root, 'home'), SOMEBODY, 0);
    expect((await runPars('list', '--config', join(root, 'home', 'link'))).exitCode).toBe(3);
    await chown(join(root, 'home'), 0, 0);
    await chown(join(root, 'etc'), SOMEBODY, 0);
    expect((await runPars('list', '--config', join(root, 'home', 'link'))).exitCode).toBe(3);
  });

  it.each(Object.entries(HANDS))('is not a token or an authority %s', async (_, [prepare, said]) => {
    const { port, asked } = await hostile.serve(() => MISSING);
    const file = await fileOf('secret');
    await prepare(file);
    for (const option of ['token-file', 'ca-file']) {
      const { exitCode, stderr } = await runPars(
        ...['store', 'status', '--store', `webhdfs://127.0.0.1:${port}/s?${option}=${file}`],
      );
      expect(stderr).toMatch(said);
      expect(stderr).not.toContain('secret');
      expect(exitCode).toBe(3);
    }
    expect(asked.filter(({ parameters }) => parameters.has('delegation'))).toEqual([]);
  });

  it('is no pipe that never says anything', async () => {
    const { exitCode, stderr } = await runPars('list', '--config', '/dev/ptmx');
    expect(stderr).toContain('is not a regular file');
    expect(exitCode).toBe(3);
  });
});
