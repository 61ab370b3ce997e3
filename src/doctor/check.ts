// SPDX-License-Identifier: Apache-2.0
/** One thing that was looked at, and what is to be done about it. */
import { EXIT_CODES, ParsError, type ErrorKind } from '../errors.js';

export type Outcome = 'ok' | 'warning' | 'failure';

export interface Check {
  /** What was looked at, a word or two. */
  name: string;
  outcome: Outcome;
  /** What was found. */
  found: string;
  /** What to do, for all but "ok". */
  todo: string | null;
  /** For a failure: what kind, which is the exit code. */
  kind: ErrorKind | null;
}

export function ok(name: string, found: string): Check {
  return { name, outcome: 'ok', found, todo: null, kind: null };
}

export function warning(name: string, found: string, todo: string): Check {
  return { name, outcome: 'warning', found, todo, kind: null };
}

export function failure(name: string, kind: ErrorKind, found: string, todo: string): Check {
  return { name, outcome: 'failure', found, todo, kind };
}

/** Whatever a look throws is a failure of that look, never the end of the others. */
export async function checked(name: string, look: () => Promise<Check | Check[]>): Promise<Check[]> {
  try {
    return [await look()].flat();
  } catch (error) {
    const kind = error instanceof ParsError ? error.kind : 'internal';
    const hint = error instanceof ParsError ? error.hint : undefined;
    return [
      failure(
        name,
        kind,
        error instanceof Error ? error.message : String(error),
        hint ?? 'run again, and report it if it repeats',
      ),
    ];
  }
}

/** The worst of them. */
export function outcomeOf(checks: readonly Check[]): Outcome {
  const has = (outcome: Outcome): boolean => checks.some((check) => check.outcome === outcome);
  return has('failure') ? 'failure' : has('warning') ? 'warning' : 'ok';
}

/** 0 unless something failed: then by the kind of the first failure. */
export function exitCodeOf(checks: readonly Check[]): number {
  const kind = checks.find((check) => check.kind !== null)?.kind ?? null;
  return kind === null ? 0 : EXIT_CODES[kind];
}
