import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { ParsError } from './errors.js';

/** Who this host is: what snapshots record as their owner (R27). */
export interface Host {
  machineId: string;
  host: string;
}

/** Reads the machine-id. A host without one cannot own snapshots. */
export function thisHost(file = '/etc/machine-id'): Host {
  return { machineId: machineId(file), host: hostname() };
}

function machineId(file: string): string {
  const hint = 'create it with: systemd-machine-id-setup (or dbus-uuidgen --ensure=/etc/machine-id)';
  let text: string;
  try {
    text = readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new ParsError('usage', `cannot read ${file}, which names this host as the owner of its snapshots`, { hint, cause });
  }
  if (!/^[0-9a-f]{32}$/.test(text)) throw new ParsError('usage', `${file} holds no machine-id`, { hint });
  return text;
}
