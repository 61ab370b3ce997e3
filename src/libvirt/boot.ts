// SPDX-License-Identifier: Apache-2.0
/**
 * Guests and a boot of this host. Which it starts by itself is said by libvirt's files, for no daemon may run
 * yet. Whether they are still being started is told by libvirt-guests, which starts those that it saved at
 * the shutdown, one after the other, and removes its list of them when it is through.
 */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { isThere, namesIn, readIfThere } from '../system/absence.js';
import { UUID_PATTERN } from '../system/uuid.js';
import { AUTOSTART_DIR, GUESTS_TO_START } from './paths.js';

export interface StartedAtBoot {
  /** Names of guests with autostart. */
  autostart: ReadonlySet<string>;
  /** UUIDs of those that libvirt-guests.service has stopped, and starts again. */
  stopped: ReadonlySet<string>;
}

const UUID = new RegExp(`\\b${UUID_PATTERN}\\b`, 'g');

export async function startedAtBoot(
  autostartDir = AUTOSTART_DIR,
  guestsFile = GUESTS_TO_START,
): Promise<StartedAtBoot> {
  const links = (await namesIn(autostartDir)).filter((name) => name.endsWith('.xml'));
  return {
    autostart: new Set(links.map((name) => name.slice(0, -'.xml'.length))),
    stopped: new Set(((await readIfThere(guestsFile)) ?? '').match(UUID) ?? []),
  };
}

const UNIT = 'libvirt-guests.service';

/** What systemd says of libvirt-guests; null where systemd does not run. */
export interface GuestsUnit {
  active: string;
  isEnabled: boolean;
  /** The boot itself is not over yet. */
  isBooting: boolean;
}

/** 'listed': nobody but its list of guests tells. */
export type GuestStarts = 'pending' | 'listed' | 'over';

export async function guestStarts(unit: GuestsUnit | null, list = GUESTS_TO_START): Promise<GuestStarts> {
  if (unit === null) return (await isThere(list)) ? 'listed' : 'over';
  if (unit.active === 'activating' || unit.active === 'reloading') return 'pending';
  // One that ran keeps its list where it is configured to start none.
  if (unit.active === 'active' || unit.active === 'failed') return 'over';
  return unit.isEnabled && unit.isBooting ? 'pending' : 'over';
}

export async function guestsUnit(): Promise<GuestsUnit | null> {
  if (!(await isThere('/run/systemd/system'))) return null;
  const shown = await systemctl('show', '-p', 'ActiveState', '-p', 'UnitFileState', UNIT);
  return {
    active: /^ActiveState=(.*)$/m.exec(shown)?.[1] ?? '',
    isEnabled: /^UnitFileState=enabled/m.test(shown),
    isBooting: /^(initializing|starting)$/m.test(await systemctl('is-system-running')),
  };
}

/** When this host was booted, in milliseconds since the epoch. */
export async function bootTime(): Promise<number> {
  return Date.now() - Number((await readFile('/proc/uptime', 'utf8')).split(' ')[0]) * 1000;
}

/** Of these words it exits with a failure where what it says is not the best news. */
async function systemctl(...words: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)('systemctl', words).catch(
    (error: Error & { stdout?: string }) => ({ stdout: error.stdout ?? '' }),
  );
  return stdout;
}
