// SPDX-License-Identifier: Apache-2.0
/**
 * libvirt's own snapshots of a guest, as far as checkpoints need them: external ones, of memory and disks.
 */
import { ParsError } from '../errors.js';
import { type DiskSource, disksOf, memoryFileOf, textOf } from './disk-sources.js';
import { askOfGuest } from './virsh.js';

export interface GuestSnapshot {
  name: string;
  created: Date;
  memory: string | null;
  /** What the memory belongs to: the disks that a revert gives the guest. */
  disks: DiskSource[];
}

/** A live snapshot of memory and disks. The guest pauses only for the last of its memory. */
export async function createSnapshot(guest: string, name: string, memory: string): Promise<void> {
  // A comma separates the parts of the option; libvirt takes two for one that is meant.
  const file = `file=${memory.replaceAll(',', ',,')},snapshot=external`;
  await askOfGuest('snapshot-create-as', guest, '--name', name, '--memspec', file, '--live', '--atomic');
}

/** Milliseconds for which the job that ended last stopped the guest; null when libvirt does not say. */
export async function lastPause(guest: string): Promise<number | null> {
  const text = await askOfGuest('domjobinfo', guest, '--completed').catch((error: unknown) => {
    if (error instanceof ParsError) return ''; // the checkpoint is made, and this is a remark about it
    throw error;
  });
  const milliseconds = /^Total downtime:\s+(\d+) ms$/m.exec(text)?.[1];
  return milliseconds === undefined ? null : Number(milliseconds);
}

/** Ends a running guest first; throws with libvirt's words, and the hook's in them. */
export async function revertToSnapshot(guest: string, name: string, words: readonly string[]): Promise<void> {
  await askOfGuest('snapshot-revert', guest, '--snapshotname', name, ...words);
}

/** libvirt merges the snapshot's disks, and removes its memory file, stub or not. */
export async function deleteSnapshot(guest: string, name: string): Promise<void> {
  await askOfGuest('snapshot-delete', guest, '--snapshotname', name);
}

/** All snapshots of a guest, the oldest first. One that is deleted meanwhile is left out. */
export async function snapshotsOf(guest: string): Promise<GuestSnapshot[]> {
  const names = (await askOfGuest('snapshot-list', guest, '--name'))
    .split('\n')
    .filter((name) => name !== '');
  const snapshots: GuestSnapshot[] = [];
  for (const name of names) {
    const xml = await askOfGuest('snapshot-dumpxml', guest, '--snapshotname', name).catch(
      (error: unknown) => {
        if (error instanceof ParsError && /no domain snapshot/i.test(error.message)) return null;
        throw error;
      },
    );
    if (xml !== null) snapshots.push(snapshotIn(xml, name));
  }
  return snapshots.sort((a, b) => a.created.getTime() - b.created.getTime());
}

function snapshotIn(xml: string, name: string): GuestSnapshot {
  const created = new Date(Number(textOf(xml, 'creationTime') ?? 0) * 1000);
  return { name, created, memory: memoryFileOf(xml), disks: disksOf(xml) };
}
