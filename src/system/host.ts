// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { ParsError } from '../errors.js';

/** Who this host is: what snapshots record as their owner (R27). */
export interface Host {
  machineId: string;
  host: string;
}

/** Reads the machine-id. A host without one cannot own snapshots. */
export function thisHost(file = '/etc/machine-id'): Host {
  return { machineId: machineId(file), host: hostname() };
}

/**
 * The same where it only serves to tell one's own snapshots from others: null on a host without a machine-id.
 */
export function knownHost(file = '/etc/machine-id'): Host | null {
  try {
    return thisHost(file);
  } catch (error) {
    if (error instanceof ParsError) return null;
    throw error;
  }
}

function machineId(file: string): string {
  const hint = 'create it with: systemd-machine-id-setup (or dbus-uuidgen --ensure=/etc/machine-id)';
  let text: string;
  try {
    text = readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new ParsError('usage', `cannot read ${file}, which names this host as the owner of its snapshots`, {
      hint,
      cause,
    });
  }
  if (!/^[0-9a-f]{32}$/.test(text)) throw new ParsError('usage', `${file} holds no machine-id`, { hint });
  return text;
}
