// SPDX-License-Identifier: Apache-2.0
import { EXIT_CODES, type ErrorKind } from '../errors.js';

/** What each kind of error means to the one who reads the exit code. */
export const EXIT_MEANINGS: Record<ErrorKind, string> = {
  internal: 'internal error (please report it)',
  usage: 'the command line or the configuration is wrong',
  refused: 'not done: a policy, an owner or a guard forbids it; the message says what would allow it',
  missing: 'the thing named does not exist',
  corrupt: 'it exists, but does not match its digest or cannot be parsed',
  unreachable: 'the store, or a part of it that is needed, cannot be reached now',
  'no-space': 'a disk or a quota is full',
  busy: 'in use by another process; try again later',
  lost: 'critical data has no readable copy left',
};

/** The table of exit codes, for --help and the manual. */
export function exitCodeTable(): string {
  const rows = Object.entries(EXIT_MEANINGS).map(([kind, meaning]) =>
    row(EXIT_CODES[kind as ErrorKind], kind, meaning),
  );
  return [
    'Exit codes:',
    row(0, 'done', 'all that was asked for'),
    ...rows,
    row('128+', 'stopped', 'by signal number N: 128 + N'),
  ].join('\n');
}

function row(code: number | string, kind: string, meaning: string): string {
  return `  ${String(code).padEnd(5)}${kind.padEnd(13)}${meaning}`;
}
