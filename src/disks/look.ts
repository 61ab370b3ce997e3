// SPDX-License-Identifier: Apache-2.0
/** What a disk, or a file below it, is right now. Only looks. */
import { stat } from 'node:fs/promises';
import { awaitedElsewhere, bestEffort } from '../system/best-effort.js';
import { isMissing, readIfThere } from '../system/absence.js';
import { type DiskBytes, openDisk, openFile } from './disk-bytes.js';
import { blockdevOf, isReason, nbdAddress, type Reason } from './blockdev.js';
import { type Fingerprint, fingerprintOf } from './fingerprint.js';
import type { NamedDisk } from './named-disk.js';
import { openNbd } from './nbd-client.js';
import { openThroughQemu } from './qemu-export.js';
import { deviceNumber, type WriteCount, writeCountOf } from './write-count.js';

export interface FileNow {
  /** "file DEV:INO" or "device RDEV". */
  identity: string;
  bytes: number;
  /** Files only: a device's time says nothing of its contents. */
  mtimeNs: string | null;
  /** Devices only. */
  written: WriteCount | null;
}

/** How long the look at one disk may take. */
const LOOK_MS = 30_000;

/** Null when it is not there, or neither a file nor a block device. Throws when it cannot be looked at. */
export async function lookAtFile(path: string): Promise<FileNow | null> {
  const stats = await stat(path, { bigint: true }).catch((error: unknown) => {
    if (isMissing(error)) return null;
    throw error;
  });
  if (stats?.isBlockDevice()) return lookAtDevice(stats.rdev);
  if (!stats?.isFile()) return null;
  const identity = `file ${stats.dev}:${stats.ino}`;
  return { identity, bytes: Number(stats.size), mtimeNs: String(stats.mtimeNs), written: null };
}

/** Linux tells a block device's size in 512-byte sectors through sysfs, 0 when it does not. */
async function lookAtDevice(rdev: bigint): Promise<FileNow> {
  const written = await writeCountOf(rdev);
  const sectors = (await readIfThere(`/sys/dev/block/${deviceNumber(rdev)}/size`)) ?? '0';
  return { identity: `device ${rdev}`, bytes: Number(sectors.trim()) * 512, mtimeNs: null, written };
}

/** What was written to a device and not yet sent to it would be counted later. */
export async function flushDevice(path: string): Promise<void> {
  const device = await openDisk(path);
  if (device !== null) await device.sync().finally(() => device.close());
}

/** Of a device or file, byte by byte as it lies there. */
export async function fingerprintOfPath(
  path: string,
  bytes: number,
  signal?: AbortSignal,
): Promise<Fingerprint | Reason> {
  return fingerprintWithin(signal, () => openFile(path, bytes));
}

/** Of a disk as its guest sees it. `path`: where it is on this host; null for a network disk. */
export async function fingerprintOfDisk(
  disk: Pick<NamedDisk, 'format' | 'network'>,
  path: string | null,
  isDevice: boolean,
  signal?: AbortSignal,
): Promise<Fingerprint | Reason> {
  const graph = blockdevOf(disk, path, isDevice);
  if (isReason(graph)) return graph;
  const [server] = disk.network?.hosts ?? [];
  const isPlainNbd =
    path === null && disk.network?.protocol === 'nbd' && graph.driver === 'raw' && server !== undefined;
  return fingerprintWithin(signal, (within) =>
    isPlainNbd
      ? openNbd(nbdAddress(server), disk.network?.name ?? '', within)
      : openThroughQemu(graph, { network: path === null, signal: within }),
  );
}

async function fingerprintWithin(
  signal: AbortSignal | undefined,
  openDisk: (signal: AbortSignal) => Promise<DiskBytes>,
): Promise<Fingerprint | Reason> {
  const timeout = AbortSignal.timeout(LOOK_MS);
  const within = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
  try {
    const disk = await openDisk(within);
    try {
      return await orAborted(fingerprintOf(disk), within);
    } finally {
      // A read that hangs would hold up its close as well.
      const closed = bestEffort(disk.close());
      if (!within.aborted) await closed;
    }
  } catch (error) {
    signal?.throwIfAborted();
    return {
      reason: timeout.aborted ? `it could not be read within ${LOOK_MS / 1000} s` : (error as Error).message,
    };
  }
}

/** A read of a device that hangs is left behind: nothing can end it. */
async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let stop = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener('abort', stop);
  });
  awaitedElsewhere(aborted);
  awaitedElsewhere(work);
  return Promise.race([work, aborted]).finally(() => signal.removeEventListener('abort', stop));
}
