// SPDX-License-Identifier: Apache-2.0
/** Errors as people and programs see them. */
import { EXIT_CODES, ParsError } from '../errors.js';
import type { Output } from '../ui/output.js';

export interface Failure {
  kind: string;
  message: string;
  hint: string | null;
}

/**
 * The parts of any thrown thing that are shown; with a `subject`, an image mostly, it is named: who reads an
 * image knows no path. An internal error keeps its stack in PARS_DEBUG.
 */
export function describeFailure(error: unknown, subject?: string): Failure {
  const failure = partsOf(error);
  return subject === undefined || failure.message.includes(subject)
    ? failure
    : { ...failure, message: `${subject}: ${failure.message}` };
}

function partsOf(error: unknown): Failure {
  if (error instanceof ParsError)
    return { kind: error.kind, message: error.message, hint: error.hint ?? null };
  if (error instanceof Error) return { kind: 'internal', message: error.message, hint: null };
  return { kind: 'internal', message: String(error), hint: null };
}

export function exitCodeOf(error: unknown): number {
  return error instanceof ParsError ? EXIT_CODES[error.kind] : EXIT_CODES.internal;
}

/** With --json one object on stdout, otherwise message and hint on stderr. */
export function printError(error: unknown, output: Output, subject?: string): void {
  const failure = describeFailure(error, subject);
  if (output.isJson) output.json({ error: failure });
  else output.failure(failure.message, failure.hint);
  if (process.env['PARS_DEBUG'] && error instanceof Error) output.trace(error.stack ?? '');
}
