// SPDX-License-Identifier: Apache-2.0
/**
 * Saves a guest again and again while it starts, each time losing all that Pars calls expendable, and lets it
 * go on from there.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Guest } from './lab.js';
import { expendablePages, judge, type Report } from './loss-judge.js';
import type { ParsHost } from './pars-host.js';

export interface Storm {
  saves: number;
  /** How often something was lost. */
  losses: number;
  /** Why it was not introspected, and how often. */
  reasons: Map<string, number>;
}

/**
 * Ends when the guest has said PARS-READY once more than `ready` times, or after `saves`; the guest runs on.
 */
export async function saveStorm(host: ParsHost, guest: Guest, ready: number, saves: number): Promise<Storm> {
  const image = join(host.lab.dir, 'storm.save');
  const storm: Storm = { saves: 0, losses: 0, reasons: new Map() };
  while (storm.saves < saves && (await timesReady(guest)) <= ready) {
    count(storm, await judge(host, guest, image));
    await host.pars('offload', '--policy', 'minimal', image);
    await host.pars('hydrate', image);
    await guest.restore(image);
    await rm(image);
  }
  return storm;
}

export async function timesReady(guest: Guest): Promise<number> {
  return (await guest.transcript()).match(/^PARS-READY/gm)?.length ?? 0;
}

function count(storm: Storm, report: Report): void {
  const { reason } = report.guest;
  storm.saves++;
  if (expendablePages(report) > 0) storm.losses++;
  if (reason !== null) storm.reasons.set(reason, (storm.reasons.get(reason) ?? 0) + 1);
}
