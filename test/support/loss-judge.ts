// SPDX-License-Identifier: Apache-2.0
/** Saves a guest wherever it is, loses all that Pars calls expendable, and lets it go on. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Guest } from './lab.js';
import type { ParsHost } from './pars-host.js';

export interface Report {
  guest: { introspected: boolean; kernel: string | null; reason: string | null };
  ram: { pages: number };
  classes: Record<string, { pages: number; payloadPages: number }>;
  reasons: { class: string; reason: string; pages: number }[];
}

/** An image is judged within a minute, whatever is in it. */
const JUDGED_WITHIN_MS = 60_000;

export function expendablePages({ classes }: Report): number {
  return (classes['free']?.pages ?? 0) + (classes['clean-cache']?.pages ?? 0);
}

/** What Pars says of the guest as it is now; the guest is off afterwards. */
export async function judge(host: ParsHost, guest: Guest, image = imageOf(guest)): Promise<Report> {
  await guest.save(image);
  const began = Date.now();
  const report = await host.json<Report>('report', image);
  if (Date.now() - began > JUDGED_WITHIN_MS) throw new Error(`judged after ${Date.now() - began} ms`);
  return report;
}

/** The same, and the guest goes on without anything that was called expendable. */
export async function loseAll(host: ParsHost, guest: Guest): Promise<Report> {
  const image = imageOf(guest);
  const report = await judge(host, guest, image);
  await host.pars('offload', '--policy', 'minimal', image);
  await host.pars('hydrate', image);
  await guest.restore(image);
  await rm(image);
  return report;
}

function imageOf(guest: Guest): string {
  return join(guest.lab.dir, `${guest.uuid}.save`);
}
