// SPDX-License-Identifier: Apache-2.0
/**
 * What went wrong on this host, kept when it was resolved since: a line of JSON each in
 * STATE/failures.jsonl, the last hundred or so, and a line in the system's log.
 */
import { join } from 'node:path';
import { bestEffort } from '../system/best-effort.js';
import type { ErrorKind } from '../errors.js';
import { tellSystem } from '../system/system-log.js';
import { appendLine, readLines } from './json-lines.js';

export interface Failure {
  time: string;
  work: string;
  /** What it was about: an image, mostly. */
  subject: string;
  kind: ErrorKind;
  message: string;
  hint: string | null;
}

/** Never throws: a failure that cannot be noted is still reported by whoever met it. */
export async function noteFailure(stateDir: string, failure: Failure): Promise<void> {
  const { work, subject, kind, message, hint } = failure;
  const line = `${work} ${subject} failed (${kind}): ${message}${hint === null ? '' : `; ${hint}`}`;
  await Promise.all([bestEffort(appendLine(pathIn(stateDir), failure)), bestEffort(tellSystem('err', line))]);
}

/** The last failures, the latest first. */
export function readFailures(stateDir: string): Promise<Failure[]> {
  return readLines(pathIn(stateDir));
}

const pathIn = (stateDir: string): string => join(stateDir, 'failures.jsonl');
