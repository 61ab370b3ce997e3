// SPDX-License-Identifier: Apache-2.0
/** Which guests this host starts by itself: as libvirt's files say, for no daemon may run yet. */
import { namesIn, readIfThere } from '../system/absence.js';
import { AUTOSTART_DIR, GUESTS_TO_START } from './paths.js';

export interface StartedAtBoot {
  /** Names of guests with autostart. */
  autostart: ReadonlySet<string>;
  /** UUIDs of those that libvirt-guests.service has stopped, and starts again. */
  stopped: ReadonlySet<string>;
}

const UUID = /\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g;

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
