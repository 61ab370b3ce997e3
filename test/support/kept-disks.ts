// SPDX-License-Identifier: Apache-2.0
import { copyFile } from 'node:fs/promises';
import type { Guest } from './lab.js';

/** Copies the guest's disks, which must not be in use; the answer puts them back. */
export async function keptDisks(guest: Guest): Promise<() => Promise<void>> {
  const sources = (await guest.lab.virsh('domblklist', guest.uuid))
    .split('\n')
    .map((line) => line.trim().split(/\s+/)[1])
    .filter((path) => path?.endsWith('.qcow2') === true) as string[];
  if (sources.length === 0) throw new Error('the guest has no disk');
  for (const source of sources) await copyFile(source, `${source}.kept`);
  return async () => {
    for (const source of sources) await copyFile(`${source}.kept`, source);
  };
}
