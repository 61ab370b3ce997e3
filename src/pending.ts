/**
 * The queue of offloads. It is the save directory itself: a whole managed-save image is work to do, so nothing is lost by a kill or a
 * reboot and nothing can be queued twice. One worker a host; the largest image first, which frees most room soonest.
 */
import { mkdir, open, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { hostStatus, type HostStatus } from './host-status.js';
import { native } from './native.js';

export type DueImage = HostStatus['due'][number];

export interface PendingWork {
  stateDir: string;
  saveDir: string;
  /** Offloads one image; its failures are its own to report. True when the image is a stub now. */
  offload(image: string): Promise<boolean>;
  signal?: AbortSignal;
}

export interface PendingOutcome {
  /** False: another worker has the queue, and takes what is in it. */
  worked: boolean;
  offloaded: string[];
  /** What is still whole, and why. */
  left: DueImage[];
}

/** Works the queue off, each image tried once. Images saved meanwhile are taken too, by us or by the worker that comes after us. */
export async function offloadPending(work: PendingWork): Promise<PendingOutcome> {
  const tried = new Set<string>();
  const offloaded: string[] = [];
  let worked = false;
  // After the lock is given up the queue is looked at again: whoever saved meanwhile may have found the lock taken.
  while ((await nextDue(work, tried)) !== null) {
    const lock = await takeLock(work.stateDir);
    if (lock === null) break;
    worked = true;
    try {
      await workOff(work, tried, offloaded);
    } finally {
      await lock.close();
    }
    if (work.signal?.aborted) break;
  }
  return { worked, offloaded, left: (await hostStatus(work.stateDir, work.saveDir)).due };
}

async function workOff(work: PendingWork, tried: Set<string>, offloaded: string[]): Promise<void> {
  for (let next = await nextDue(work, tried); next !== null && !work.signal?.aborted; next = await nextDue(work, tried)) {
    tried.add(next.key);
    if (await work.offload(next.image)) offloaded.push(next.image);
  }
}

/** The largest image that was not tried yet in this state: one that was saved anew counts as another. */
async function nextDue({ stateDir, saveDir }: PendingWork, tried: ReadonlySet<string>): Promise<(DueImage & { key: string }) | null> {
  const { due } = await hostStatus(stateDir, saveDir);
  for (const entry of due.sort((a, b) => b.bytes - a.bytes)) {
    const stats = await stat(entry.image, { bigint: true }).catch(() => null);
    const key = `${entry.image} ${stats?.ino} ${stats?.mtimeNs}`;
    if (stats !== null && !tried.has(key)) return { ...entry, key };
  }
  return null;
}

/** The kernel gives the lock up with the process that holds it. Null when another worker has it. */
async function takeLock(stateDir: string): Promise<FileHandle | null> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const file = await open(join(stateDir, 'worker.lock'), 'a', 0o600);
  if (native().tryLock(file.fd)) return file;
  await file.close();
  return null;
}
