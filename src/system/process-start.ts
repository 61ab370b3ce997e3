// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { isMissing } from './absence.js';

/**
 * When a process started: the boot and the clock ticks since. With its number it names a process for ever.
 * Null when there is none of that number, or one that has ended and that its parent has not asked for: it is
 * at work no more, once all its threads have ended. Fields 3, 20 and 22 of /proc/PID/stat; the name in field
 * 2 may hold anything, so it is counted from its end.
 */
export function processStart(pid: number): string | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const [state, threads, ticks] = [fields[0], fields[17], fields[19]];
    if (state === 'Z' && Number(threads) <= 1) return null;
    return ticks === undefined ? null : `${bootId()}/${ticks}`;
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}
