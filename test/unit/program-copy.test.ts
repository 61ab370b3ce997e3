// SPDX-License-Identifier: Apache-2.0
/** The copy of the program that the hook relies on. */
import { appendFileSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { installProgram } from '../../src/install/program-copy.js';

it('is made once, and again when it is damaged', async () => {
  const prefix = mkdtempSync(join(tmpdir(), 'pars-program-'));
  try {
    const { directory } = await installProgram(prefix);
    expect(await installProgram(prefix)).toEqual({ directory, copied: false });
    for (const file of ['dist/cli.js', 'build/Release/pars-reader', 'bin/node']) {
      const before = readFileSync(join(directory, file));
      appendFileSync(join(directory, file), 'x');
      expect(await installProgram(prefix), file).toEqual({ directory, copied: true });
      expect(readFileSync(join(directory, file)).equals(before)).toBe(true);
    }
  } finally {
    rmSync(prefix, { recursive: true });
  }
});

it('may be read and run by everybody, whatever the umask, and brings its runtime along', async () => {
  const root = mkdtempSync(join(tmpdir(), 'pars-program-'));
  const before = process.umask(0o077);
  try {
    const { directory } = await installProgram(join(root, 'lib', 'pars'));
    const paths = [join(root, 'lib'), join(root, 'lib/pars'), directory].concat(
      readdirSync(directory, { recursive: true }).map((name) => join(directory, String(name))),
    );
    const closed = paths.filter((path) => {
      const stats = lstatSync(path);
      return (stats.mode & 0o055) !== (stats.isDirectory() ? 0o055 : stats.mode & 0o111 ? 0o055 : 0o044);
    });
    expect(closed).toEqual([]);
    expect(lstatSync(join(directory, 'bin/node')).mode & 0o777).toBe(0o755);
  } finally {
    process.umask(before);
    rmSync(root, { recursive: true });
  }
});
