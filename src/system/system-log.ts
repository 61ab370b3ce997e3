// SPDX-License-Identifier: Apache-2.0
/** The system's log: logger(1) finds the journal or the syslog daemon. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { bestEffort } from './best-effort.js';
import { plain } from './plain-text.js';

const LOG_MS = 5000;

/**
 * Writes one line, whatever `text` holds: a message may hold what a guest's name holds. Throws when there is
 * no log.
 */
export async function tellSystem(priority: 'err' | 'warning', text: string): Promise<void> {
  const line = plain(text.replace(/[\x00-\x1f\x7f]+/g, ' '));
  await promisify(execFile)(
    'logger',
    ['--id', '--tag', 'pars', '--priority', `daemon.${priority}`, '--', line],
    { timeout: LOG_MS },
  );
}

/**
 * Work that must not stop what it stands beside: its result, or null when it failed, and then the system's
 * log
 * says so, if there is one. Never throws.
 */
export async function orTellSystem<T>(work: Promise<T> | undefined, failure: string): Promise<T | null> {
  const [done] = await Promise.allSettled([work]);
  if (done.status === 'fulfilled') return done.value ?? null;
  const why = done.reason instanceof Error ? done.reason.message : String(done.reason);
  await bestEffort(tellSystem('warning', `${failure}: ${why}`));
  return null;
}
