// SPDX-License-Identifier: Apache-2.0
/** The copy of the program that the hook relies on. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { installProgram } from '../../src/install/program-copy.js';

it('is made once, and anew when it is damaged', async () => {
  const prefix = mkdtempSync(join(tmpdir(), 'pars-program-'));
  try {
    const { directory } = await installProgram(prefix);
    expect(await installProgram(prefix)).toEqual({ directory, copied: false });
    for (const file of ['dist/cli.js', 'build/Release/pars-reader']) {
      const before = readFileSync(join(directory, file));
      appendFileSync(join(directory, file), 'x');
      expect(await installProgram(prefix), file).toEqual({ directory, copied: true });
      expect(readFileSync(join(directory, file)).equals(before)).toBe(true);
    }
  } finally {
    rmSync(prefix, { recursive: true });
  }
});
