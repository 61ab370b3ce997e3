// SPDX-License-Identifier: Apache-2.0
/**
 * One guest of the matrix: a kernel on a file system. It is saved idle and loses every expendable page; then
 * in the middle of writes, and loses a random half; then so again, and loses all. After each it judges
 * itself.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Guest, GuestOptions, Suite } from './lab.js';
import { loseHalf } from './lose-half.js';
import type { FileSystem } from './matrix-list.js';
import type { ParsHost } from './pars-host.js';

export interface MatrixGuest {
  kernel: Suite;
  fs: FileSystem;
  shape: string;
  options: GuestOptions;
  /** Brings a running guest into its shape, or makes sure that it has it. */
  prepare?: (guest: Guest) => Promise<void>;
}

/** Sectors (512 bytes) and requests that the guest read from its disks. */
export interface Reads {
  sectors: number;
  requests: number;
}

export interface Outcome {
  sound: boolean;
  /** What the guest or Pars said when it was not. */
  said: string;
  lostPages: number;
}

export interface MatrixResult {
  release: string;
  date: string;
  /** Of the code that judged. */
  commit: string;
  /** Why the guest is critical as a whole; null when it was introspected. */
  reason: string | null;
  /** Clean unmapped cache by the guest kernel's own count, and what Pars calls expendable, in pages. */
  cleanPages: number;
  expendablePages: number;
  reasons: { text: string; pages: number }[];
  idleAll: Outcome;
  busyHalf: Outcome;
  busyAll: Outcome;
  /** The check after all was lost, and the same check after drop_caches. */
  reread: Reads;
  cold: Reads;
}

interface Report {
  guest: { introspected: boolean; reason: string | null };
  classes: Record<string, { pages: number; payloadPages: number }>;
  notes: { text: string; pages: number }[];
}

export function isSound({ idleAll, busyHalf, busyAll }: MatrixResult): boolean {
  return idleAll.sound && busyHalf.sound && busyAll.sound;
}

/** Throws only when the guest does not come up; a guest that was harmed is an answer. */
export async function runMatrixGuest(
  host: ParsHost,
  wanted: MatrixGuest,
  commit: string,
  seed: number,
): Promise<MatrixResult> {
  const guest = await host.boot({ kernel: wanted.kernel, ...wanted.options });
  const image = join(host.lab.dir, `${guest.name}.save`);
  try {
    await wanted.prepare?.(guest);
    const release = await guest.kernelRelease();
    const { clean: cleanPages } = await guest.pageCounts();
    const idle = await loseAllIdle(host, guest, image);
    const busyHalf = await loseBusy(guest, image, () => losesHalf(host, image, seed));
    const busyAll = await loseBusy(guest, image, () => losesAll(host, image));
    return {
      release,
      date: new Date().toISOString().slice(0, 10),
      commit,
      cleanPages,
      ...idle,
      busyHalf,
      busyAll,
    };
  } finally {
    await guest.destroy().catch(() => undefined);
    await rm(image, { force: true });
  }
}

type Idle = Pick<MatrixResult, 'reason' | 'expendablePages' | 'reasons' | 'idleAll' | 'reread' | 'cold'>;

async function loseAllIdle(host: ParsHost, guest: Guest, image: string): Promise<Idle> {
  await guest.save(image);
  const report = await host.json<Report>('report', image);
  const lostPages = await losesAll(host, image);
  await guest.restore(image);
  const { ok, line, reads, requests } = await guest.check();
  await rm(image);
  const cold = await coldRead(guest);
  const idleAll = await judged(guest, lostPages, ok ? '' : line);
  const { reason } = report.guest;
  const expendablePages = report.classes['clean-cache']?.pages ?? 0;
  return {
    reason,
    expendablePages,
    reasons: report.notes,
    idleAll,
    reread: { sectors: reads, requests },
    cold,
  };
}

/** What the check costs when nothing at all is cached. */
async function coldRead(guest: Guest): Promise<Reads> {
  await guest.ask('drop');
  await guest.ask('mark');
  const { reads, requests } = await guest.check();
  return { sectors: reads, requests };
}

async function judged(guest: Guest, lostPages: number, said: string): Promise<Outcome> {
  if (said !== '') return { sound: false, said, lostPages };
  const { ok, line } = await guest.deep();
  return { sound: ok, said: ok ? '' : line, lostPages };
}

/** The cache is full after every judgement; workers are at work while the guest is saved. */
async function loseBusy(guest: Guest, image: string, lose: () => Promise<number>): Promise<Outcome> {
  const { ok: busy, line: lazy } = await guest.ask('busy');
  if (!busy) return { sound: false, said: lazy, lostPages: 0 };
  await guest.save(image);
  const lostPages = await lose();
  await guest.restore(image);
  await rm(image);
  for (const command of ['quiet', 'check']) {
    const { ok, line } = await guest.ask(command);
    if (!ok) return { sound: false, said: line, lostPages };
  }
  return judged(guest, lostPages, '');
}

async function losesAll(host: ParsHost, image: string): Promise<number> {
  const { classes } = await host.json<Report>('report', image);
  await host.pars('offload', '--policy', 'minimal', image);
  await host.pars('hydrate', image);
  return (classes['clean-cache']?.payloadPages ?? 0) + (classes['free']?.payloadPages ?? 0);
}

async function losesHalf(host: ParsHost, image: string, seed: number): Promise<number> {
  const { guest } = await host.json<Report>('report', image);
  const { snapshot } = await host.json<{ snapshot: string }>('offload', '--policy', 'pars', image);
  const lostPages = guest.introspected ? (await loseHalf(host.disks, snapshot, seed)).lostPages : 0;
  await host.pars('hydrate', image);
  return lostPages;
}
