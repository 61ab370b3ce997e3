// SPDX-License-Identifier: Apache-2.0
/**
 * Images that were refilled without expendable pages that should have been there: a line of JSON each in
 * STATE/losses.jsonl, and a line in the system's log. A start by libvirt has nobody else to tell: what a hook
 * that succeeds says is heard by nobody.
 */
import { join } from 'node:path';
import { bestEffort } from '../system/best-effort.js';
import type { Losses } from '../snapshot/assemble.js';
import { tellSystem } from '../system/system-log.js';
import { appendLine, readLines } from './json-lines.js';

export interface NotedLoss {
  time: string;
  image: string;
  domain: string;
  snapshot: string;
  losses: Losses;
}

/**
 * Notes what a refill lost beyond its policy; nothing when it lost nothing. Never throws: the image is whole,
 * whatever becomes of the note.
 */
export async function noteLosses(stateDir: string, loss: Omit<NotedLoss, 'time'>): Promise<void> {
  if (loss.losses.unexpected === 0) return;
  const noted: NotedLoss = { time: new Date().toISOString(), ...loss };
  await Promise.all([
    bestEffort(appendLine(pathIn(stateDir), noted)),
    bestEffort(
      tellSystem(
        'warning',
        `hydrate ${loss.image}: ${lossInWords(loss.losses)}; see: pars verify ${loss.snapshot}`,
      ),
    ),
  ]);
}

/** The last ones, the latest first. */
export function readLosses(stateDir: string): Promise<NotedLoss[]> {
  return readLines(pathIn(stateDir));
}

export function lossInWords({ unexpected, byPolicy, recovered }: Losses): string {
  return (
    `${unexpected} expendable pages were lost, ${byPolicy} were not stored, ${recovered} cached `
    + `ones of both were recovered: the guest reads those from its disks again`
  );
}

const pathIn = (stateDir: string): string => join(stateDir, 'losses.jsonl');
