// SPDX-License-Identifier: Apache-2.0
/**
 * What a guest's disks are when its memory is stored, so that a start can tell whether they still are that
 * (R26).
 */
import { type Below, filesBelow } from './backing-files.js';
import { isReason, type Reason } from './blockdev.js';
import type { Fingerprint } from './fingerprint.js';
import { type FileNow, fingerprintOfDisk, fingerprintOfPath, flushDevice, lookAtFile } from './look.js';
import { isEmpty, isOptical, type NamedDisk, type NetworkSource, placeOf } from './named-disk.js';
import { type PoolOptions, poolOf, volumePath } from './pools.js';
import type { WriteCount } from './write-count.js';

/** A file or a device, as it was. */
export interface RecordedFile {
  source: string;
  bytes: number | null;
  mtimeNs: string | null;
  identity: string | null;
  /** Devices that hold a raw disk. */
  fingerprint?: Fingerprint | undefined;
  /** Devices: what had been written to it. */
  written?: WriteCount | undefined;
}

export interface RecordedDisk extends RecordedFile {
  target: string;
  /** In records without `type`: an optical drive, or <readonly/>. */
  readOnly: boolean;
  /** Files that the disk reads through to: what a qcow2 image stands on. */
  below?: RecordedFile[] | undefined;
  /** As in the domain XML. Records that an earlier version made have none of what follows. */
  type?: string | undefined;
  device?: string | undefined;
  format?: string | undefined;
  pool?: { name: string; volume: string; path: string | null } | undefined;
  network?: NetworkSource | undefined;
  /**
   * Of its contents as the guest sees them: network disks, and formats that only QEMU reads where no file
   * tells of a change.
   */
  contents?: Fingerprint | undefined;
  /** Why it cannot be compared. */
  uncompared?: string | undefined;
}

export interface LookOptions extends PoolOptions {
  signal?: AbortSignal | undefined;
}

/** What the disks are right now. What cannot be compared later says why. */
export async function recordDisks(
  disks: readonly NamedDisk[],
  options: LookOptions,
): Promise<RecordedDisk[]> {
  const recorded: RecordedDisk[] = [];
  // One after another: each look may start a QEMU, and the answer is the same.
  for (const disk of disks) recorded.push(await recordDisk(disk, options));
  return recorded;
}

/** Those that a start will not be able to compare, in words. */
export function uncomparedIn(disks: readonly RecordedDisk[]): string[] {
  return disks.filter(({ uncompared }) => uncompared !== undefined).map(describeUncompared);
}

export function describeUncompared({
  target,
  source,
  uncompared,
}: Pick<RecordedDisk, 'target' | 'source' | 'uncompared'>): string {
  return (
    `${target}${source === '' ? '' : ` (${source})`} cannot be compared: `
    + `${uncompared ?? 'unknown reason'}`
  );
}

const NOTHING: RecordedFile = { source: '', bytes: null, mtimeNs: null, identity: null };

async function recordDisk(disk: NamedDisk, options: LookOptions): Promise<RecordedDisk> {
  const { target, type, device, format, readOnly, network } = disk;
  const named = { target, readOnly, type, device, format, ...(network !== null && { network }) };
  const blank: RecordedDisk = { ...named, ...NOTHING, source: placeOf(disk) };
  if (isEmpty(disk)) return blank;
  if (network !== null && disk.backing.length > 0)
    return { ...blank, uncompared: 'its XML names what is below it' };
  if (network !== null) return { ...blank, ...(await contentsOf(disk, null, false, options)) };
  if (type === 'volume') return recordVolume(disk, blank, options);
  if (type !== 'file' && type !== 'block')
    return { ...blank, uncompared: `a disk of type ${type} has nothing to be told by` };
  return { ...named, ...(await recordPath(disk, disk.source, options)) };
}

async function recordVolume(
  disk: NamedDisk,
  blank: RecordedDisk,
  options: LookOptions,
): Promise<RecordedDisk> {
  const pool = {
    name: disk.pool,
    volume: disk.volume,
    path: (await poolOf(disk.pool, options.poolDirectories))?.path ?? null,
  };
  const path = await volumePath(disk.pool, disk.volume, options);
  if (typeof path === 'string') return { ...blank, pool, ...(await recordPath(disk, path, options)) };
  return { ...blank, pool, ...(isOptical(disk) ? {} : { uncompared: path.reason }) };
}

type PathRecord = RecordedFile & Pick<RecordedDisk, 'below' | 'contents' | 'uncompared'>;

async function recordPath(disk: NamedDisk, path: string, options: LookOptions): Promise<PathRecord> {
  if (isOptical(disk)) {
    // Recorded for people, never compared: a disc that cannot be looked at is recorded as nothing.
    const [looked] = await Promise.allSettled([lookAtFile(path)]);
    return fileRecord(path, looked.status === 'fulfilled' ? looked.value : null);
  }
  const looked = await recordFile(path, isRaw(disk.format), options);
  if (isReason(looked)) return { ...NOTHING, source: path, uncompared: looked.reason };
  const lower = await filesBelowDisk(disk, path).catch(whyNot);
  if (isReason(lower)) return { ...looked, uncompared: `what is below it cannot be read: ${lower.reason}` };
  const { files, beyond } = lower;
  const below: RecordedFile[] = [];
  for (const file of files) {
    const one = await recordFile(file.path, isRaw(file.format), options);
    if (isReason(one)) return { ...looked, uncompared: `${file.path}, below it: ${one.reason}` };
    below.push(one);
  }
  const told = { ...looked, ...(below.length > 0 && { below }) };
  const isUntold =
    beyond !== null
    || !isToldByFiles(disk.format)
    || [looked, ...below].some((file) => isDevice(file) && file.fingerprint === undefined);
  return isUntold ? { ...told, ...(await contentsOf(disk, path, isDevice(looked), options)) } : told;
}

/**
 * What its image names, and what the XML puts there instead: which of the two QEMU reads depends on libvirt.
 */
async function filesBelowDisk({ format, backing }: NamedDisk, path: string): Promise<Below | Reason> {
  const found: Below[] = format === 'qcow2' ? [await filesBelow(path)] : [];
  for (const { source, format } of backing) {
    if (source === '') return { reason: 'its XML names more than local files' };
    found.push({ files: [{ path: source, format }], beyond: null });
    if (!isRaw(format)) found.push(await filesBelow(source));
  }
  const files = new Map(found.flatMap((below) => below.files).map((file) => [file.path, file]));
  return { files: [...files.values()], beyond: found.find(({ beyond }) => beyond !== null)?.beyond ?? null };
}

/** `raw`: its bytes are the disk's, so that a device can be told by them. */
async function recordFile(
  path: string,
  raw: boolean,
  { signal }: LookOptions,
): Promise<RecordedFile | Reason> {
  try {
    const now = await lookAtFile(path);
    if (now === null) return { reason: 'it is not there, or neither a file nor a block device' };
    if (!isDevice(now)) return fileRecord(path, now);
    await flushDevice(path);
    const settled = (await lookAtFile(path)) ?? now;
    const fingerprint = raw ? await fingerprintOfPath(path, settled.bytes, signal) : undefined;
    if (fingerprint !== undefined && isReason(fingerprint)) return fingerprint;
    return {
      ...fileRecord(path, settled),
      ...(fingerprint && { fingerprint }),
      ...(settled.written && { written: settled.written }),
    };
  } catch (error) {
    signal?.throwIfAborted();
    return { reason: (error as Error).message };
  }
}

function whyNot(error: unknown): Reason {
  return { reason: (error as Error).message };
}

function fileRecord(source: string, now: FileNow | null): RecordedFile {
  return {
    source,
    bytes: now?.bytes ?? null,
    mtimeNs: now?.mtimeNs ?? null,
    identity: now?.identity ?? null,
  };
}

async function contentsOf(
  disk: NamedDisk,
  path: string | null,
  device: boolean,
  { signal }: LookOptions,
): Promise<Pick<RecordedDisk, 'contents' | 'uncompared'>> {
  if (isOptical(disk)) return {};
  const contents = await fingerprintOfDisk(disk, path, device, signal);
  return isReason(contents) ? { uncompared: contents.reason } : { contents };
}

/** Formats whose disks lie in one file, or in files that are looked for: qcow2. */
const TOLD_BY_FILES: ReadonlySet<string> = new Set(['qcow2', 'vdi', 'vpc']);

/** A disk of any other format may have parts, or stand on images, that nobody here knows of. */
export function isToldByFiles(format: string): boolean {
  return isRaw(format) || TOLD_BY_FILES.has(format);
}

/** libvirt takes a disk without a format for raw. */
export function isRaw(format: string | null): boolean {
  return format === '' || format === 'raw';
}

export function isDevice({ identity }: { identity: string | null }): boolean {
  return identity?.startsWith('device ') ?? false;
}
