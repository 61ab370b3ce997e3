// SPDX-License-Identifier: Apache-2.0
/** The built program, run as a user who may not read what is root's. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Ran } from './run-pars.js';

const PROGRAM = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const NOBODY = 65_534;

/** Only root can become somebody else. */
export const canBecomeNobody = process.getuid?.() === 0;

if (!canBecomeNobody) {
  if (process.env['CI']) throw new Error('tests as another user need root');
  console.warn('SKIPPED: tests as an ordinary user, because this is not root');
}

export function parsAsNobody(...argv: string[]): Ran {
  const options = { uid: NOBODY, gid: NOBODY, encoding: 'utf8', cwd: '/' } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...argv], options);
  return { exitCode: status ?? -1, stdout, stderr };
}
