// SPDX-License-Identifier: Apache-2.0
/** A result that cannot be written is an error in words, not a stack trace. */
import { spawnSync } from 'node:child_process';
import { openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/errors.js';

const PROGRAM = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

it('a full device as standard output ends with "no space" and one sentence', () => {
  const full = openSync('/dev/full', 'w');
  const { status, stderr } = spawnSync(process.execPath, [PROGRAM, '--help'], {
    stdio: ['ignore', full, 'pipe'],
    encoding: 'utf8',
  });
  expect(status).toBe(EXIT_CODES['no-space']);
  expect(stderr).toMatch(/^pars: the result could not be written: ENOSPC[^\n]*\n$/);
});
