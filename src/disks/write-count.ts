// SPDX-License-Identifier: Apache-2.0
/**
 * How much has been written to a block device through this host: a number that only grows while the device
 * and the host are up.
 */
import { readIfThere } from '../system/absence.js';

export interface WriteCount {
  /**
   * Of the host's boot, and of the device since: another device under the same number has another one (Linux
   * 5.15).
   */
  boot: string;
  diskseq: string;
  /** 512 bytes each, written and discarded. */
  sectors: number;
}

/** Null where the kernel does not tell. `rdev`: the device's number. */
export async function writeCountOf(rdev: bigint): Promise<WriteCount | null> {
  const at = `/sys/dev/block/${deviceNumber(rdev)}`;
  const [boot, diskseq, stat] = await Promise.all([
    line('/proc/sys/kernel/random/boot_id'),
    sequence(at),
    line(`${at}/stat`),
  ]);
  if (boot === null || diskseq === null || stat === null) return null;
  const fields = stat.split(/\s+/).map(Number);
  const sectors = (fields[6] ?? NaN) + (fields[13] ?? 0);
  return Number.isSafeInteger(sectors) ? { boot, diskseq, sectors } : null;
}

/** Null when they cannot be compared: the host was rebooted, or the device taken down and set up again. */
export function writtenBetween(before: WriteCount, now: WriteCount | null): number | null {
  if (now === null || now.boot !== before.boot || now.diskseq !== before.diskseq) return null;
  return now.sectors - before.sectors;
}

/** "253:4" */
export function deviceNumber(rdev: bigint): string {
  return `${(rdev >> 8n) & 0xfffn}:${(rdev & 0xffn) | ((rdev >> 12n) & 0xfff00n)}`;
}

/** A partition has its disk's. */
async function sequence(at: string): Promise<string | null> {
  return (await line(`${at}/diskseq`)) ?? line(`${at}/../diskseq`);
}

/** What sysfs does not have it cannot tell. */
async function line(path: string): Promise<string | null> {
  return (await readIfThere(path))?.trim() ?? null;
}
