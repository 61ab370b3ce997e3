// SPDX-License-Identifier: Apache-2.0
/** The built program, run as a user who may not read what is root's. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { installProgram } from '../../src/install/program-copy.js';
import type { Ran } from './run-pars.js';

const NOBODY = 65_534;

/** Only root can become somebody else. */
export const canBecomeNobody = process.getuid?.() === 0;

if (!canBecomeNobody) {
  if (process.env['CI']) throw new Error('tests as another user need root');
  console.warn('SKIPPED: tests as an ordinary user, because this is not root');
}

/** A copy where everybody may read it: the checkout may lie in a directory that is root's alone. */
async function readableProgram(): Promise<string> {
  const prefix = mkdtempSync(join(tmpdir(), 'pars-for-nobody-'));
  chmodSync(prefix, 0o755);
  afterAll(() => rmSync(prefix, { recursive: true, force: true }));
  return join((await installProgram(prefix)).directory, 'dist', 'cli.js');
}

const program = canBecomeNobody ? await readableProgram() : '';

export function parsAsNobody(...argv: string[]): Ran {
  const options = { uid: NOBODY, gid: NOBODY, encoding: 'utf8', cwd: '/' } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...argv], options);
  return { exitCode: status ?? -1, stdout, stderr };
}
