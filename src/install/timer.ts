// SPDX-License-Identifier: Apache-2.0
/** The systemd timer that offloads what a reboot or a failure has left. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isThere } from '../system/absence.js';
import { ParsError } from '../errors.js';

const TIMER = 'pars-offload.timer';
/** Where a package, or an administrator, puts units. */
const UNIT_DIRECTORIES = ['/etc/systemd/system', '/usr/local/lib/systemd/system', '/usr/lib/systemd/system'];

/**
 * Enables and starts it; returns what was changed. Nothing where systemd does not run, or has no such unit.
 */
export async function enableTimer(): Promise<string[]> {
  if (!(await isThere('/run/systemd/system'))) return [];
  const units = await Promise.all(UNIT_DIRECTORIES.map((directory) => isThere(join(directory, TIMER))));
  if (!units.includes(true) || (await isEnabled())) return [];
  try {
    await promisify(execFile)('systemctl', ['enable', '--now', TIMER]);
  } catch (cause) {
    throw new ParsError('internal', `${TIMER} could not be enabled: ${(cause as Error).message}`, {
      hint: `by hand: systemctl enable --now ${TIMER}; or leave it out: pars init --no-timer`,
      cause,
    });
  }
  return [`enabled ${TIMER}, which offloads what a reboot or a failure has left`];
}

async function isEnabled(): Promise<boolean> {
  const { stdout } = await promisify(execFile)('systemctl', ['is-enabled', TIMER]).catch(
    (error: Error & { stdout?: string }) => ({ stdout: error.stdout ?? '' }),
  );
  return stdout.trim() === 'enabled';
}
