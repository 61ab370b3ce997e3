/**
 * One guest of the matrix: a kernel on a file system. It is saved idle and loses every expendable page, then saved in the middle
 * of writes and loses a random half, and after each judges itself.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { DiskSpec, Guest, GuestOptions, Suite } from './lab.js';
import { loseHalf } from './lose-half.js';
import type { ParsHost } from './pars-host.js';

export interface MatrixGuest {
  kernel: Suite;
  fs: DiskSpec['fs'];
  shape: string;
  options: GuestOptions;
}

/** Sectors (512 bytes) and requests that the guest read from its disks. */
export interface Reads {
  sectors: number;
  requests: number;
}

export interface Verdict {
  sound: boolean;
  /** What the guest or Pars said when it was not. */
  said: string;
  lostPages: number;
}

export interface MatrixResult {
  release: string;
  date: string;
  /** Clean unmapped cache by the guest kernel's own count, and what Pars calls expendable, in pages. */
  cleanPages: number;
  expendablePages: number;
  reasons: { text: string; pages: number }[];
  all: Verdict;
  half: Verdict;
  /** The check after all was lost, and the same check after drop_caches. */
  reread: Reads;
  cold: Reads;
}

interface Report {
  guest: { introspected: boolean; reason: string | null };
  classes: Record<string, { pages: number; payloadPages: number }>;
  notes: { text: string; pages: number }[];
}

/** Throws only when the guest does not come up; a guest that was harmed is an answer. */
export async function runMatrixGuest(host: ParsHost, wanted: MatrixGuest, seed: number): Promise<MatrixResult> {
  const guest = await host.boot({ kernel: wanted.kernel, disks: [{ fs: wanted.fs, generate: 320 }], ...wanted.options });
  const image = join(host.lab.dir, `${guest.name}.save`);
  try {
    const release = await guest.kernelRelease();
    const { clean: cleanPages } = await guest.pageCounts();
    const lostAll = await loseAll(host, guest, image);
    const cold = await coldRead(guest);
    const all = await judged(guest, lostAll.lostPages, lostAll.said);
    const half = await loseRandomHalf(host, guest, image, wanted, seed);
    const { expendablePages, reasons, reread } = lostAll;
    return { release, date: new Date().toISOString().slice(0, 10), cleanPages, expendablePages, reasons, all, half, reread, cold };
  } finally {
    await guest.destroy().catch(() => undefined);
    await rm(image, { force: true });
  }
}

async function loseAll(host: ParsHost, guest: Guest, image: string): Promise<Pick<MatrixResult, 'expendablePages' | 'reasons' | 'reread'> & { lostPages: number; said: string }> {
  await guest.save(image);
  const report = await host.json<Report>('report', image);
  if (!report.guest.introspected) throw new Error(`not introspected: ${report.guest.reason}`);
  await host.pars('offload', '--policy', 'minimal', image);
  await host.pars('hydrate', image);
  await guest.restore(image);
  const { ok, line, reads, requests } = await guest.check();
  const cache = report.classes['clean-cache'];
  const lostPages = (cache?.payloadPages ?? 0) + (report.classes['free']?.payloadPages ?? 0);
  const reread = { sectors: reads, requests };
  await rm(image);
  return { expendablePages: cache?.pages ?? 0, reasons: report.notes, reread, lostPages, said: ok ? '' : line };
}

/** What the check costs when nothing at all is cached. */
async function coldRead(guest: Guest): Promise<Reads> {
  await guest.ask('drop');
  await guest.ask('mark');
  const { reads, requests } = await guest.check();
  return { sectors: reads, requests };
}

async function judged(guest: Guest, lostPages: number, said: string): Promise<Verdict> {
  if (said !== '') return { sound: false, said, lostPages };
  const { ok, line } = await guest.deep();
  return { sound: ok, said: ok ? '' : line, lostPages };
}

/** The cache is full again after `check`; a writer is at work while the guest is saved. */
async function loseRandomHalf(host: ParsHost, guest: Guest, image: string, { fs }: MatrixGuest, seed: number): Promise<Verdict> {
  const writable = fs !== 'squashfs';
  await guest.check();
  if (writable) await guest.ask('write 4');
  await guest.save(image);
  const { snapshot } = await host.json<{ snapshot: string }>('offload', '--policy', 'pars', image);
  const { lostPages } = await loseHalf(host.disks, snapshot, seed);
  await host.pars('hydrate', image);
  await guest.restore(image);
  if (writable) await guest.ask('quiet');
  const { ok, line } = await guest.check();
  return judged(guest, lostPages, ok ? '' : line);
}
