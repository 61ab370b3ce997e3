// SPDX-License-Identifier: Apache-2.0
/**
 * The disks a saved guest was using: what they were when it was saved, and whether they are still that (R26).
 */
import { readFile, stat } from 'node:fs/promises';
import { filesBelow } from './backing-files.js';
import { ParsError } from '../errors.js';
import type { Manifest } from './manifest.js';

export type RecordedDisk = Manifest['disks'][number];
/** A file or a device, as it was. */
type RecordedFile = Omit<RecordedDisk, 'target' | 'readOnly' | 'below'>;

/** A disk as the domain XML names it. */
export interface NamedDisk {
  target: string;
  /** Path of a file or device; empty for network disks. */
  source: string;
  /** "qcow2" has files below it. */
  format: string;
  readOnly: boolean;
}

/** What the disks are right now. Disks that are not local, or not there, are recorded by name alone. */
export async function recordDisks(disks: readonly NamedDisk[]): Promise<RecordedDisk[]> {
  return Promise.all(disks.map(recordDisk));
}

/** In words, how each writable disk differs from what was recorded of it. */
export async function changesOfDisks(recorded: readonly RecordedDisk[]): Promise<string[]> {
  const writable = recorded.filter((disk) => !disk.readOnly);
  return (await Promise.all(writable.flatMap(layersOf).map(([name, file]) => changeOf(name, file)))).filter(
    (change) => change !== null,
  );
}

/**
 * Throws 'refused' when a writable disk has changed since it was recorded: old memory over a newer disk
 * destroys it.
 */
export async function checkDisks(recorded: readonly RecordedDisk[]): Promise<void> {
  const changes = await changesOfDisks(recorded);
  if (changes.length === 0) return;
  throw new ParsError(
    'refused',
    `the guest's disks are not what they were when its memory was saved: ${changes.join('; ')}`,
    {
      hint:
        'resuming old memory on a changed disk damages its file systems; to do it all the same: '
        + 'pars hydrate --accept-changed-disks IMAGE',
    },
  );
}

/**
 * The same for a host that has not seen the guest before: disks are told by kind, length and time, for inode
 * numbers are this host's own; and those that were `moved` on purpose by kind and length, for a copy need not
 * have kept its time, nor what it stands on its place. Every disk of a path must be there.
 */
export async function checkDisksElsewhere(
  recorded: readonly RecordedDisk[],
  moved: ReadonlyMap<string, string>,
): Promise<void> {
  const expected = recorded.map((disk) =>
    moved.has(disk.target) ? { ...disk, source: moved.get(disk.target) ?? '', below: [] } : disk,
  );
  const complaints = await Promise.all(
    expected.flatMap((disk) =>
      layersOf(disk).map(([name, file]) => complaintAbout(name, file, disk.readOnly, moved.has(disk.target))),
    ),
  );
  const problems = complaints.filter((complaint) => complaint !== null);
  if (problems.length === 0) return;
  throw new ParsError(
    'refused',
    `the guest's disks are not here as they were when its memory was saved: ${problems.join('; ')}`,
    {
      hint:
        'bring them here, or say where they are: --set-disk vda=/path; to resume old memory on '
        + 'changed disks all the same: --accept-changed-disks',
    },
  );
}

/** The disk and what is below it, each with a name for people. */
function layersOf({ target, below = [], ...disk }: RecordedDisk): [name: string, file: RecordedFile][] {
  return [
    [`${target} (${disk.source})`, disk],
    ...below.map((file): [string, RecordedFile] => [`${file.source}, below ${target},`, file]),
  ];
}

async function complaintAbout(
  name: string,
  disk: RecordedFile,
  readOnly: boolean,
  moved: boolean,
): Promise<string | null> {
  if (!disk.source.startsWith('/')) return null;
  const now = await lookAt(disk.source);
  if (now === null) return `${name} is not there`;
  if (readOnly || disk.identity === null) return null;
  return changeOf(name, {
    ...disk,
    identity: `${kindOf(disk.identity)} ${now.identity.slice(kindOf(now.identity).length + 1)}`,
    mtimeNs: moved ? now.mtimeNs : disk.mtimeNs,
  });
}

async function recordDisk({ target, source, format, readOnly }: NamedDisk): Promise<RecordedDisk> {
  const below =
    format === 'qcow2' && source.startsWith('/')
      ? await Promise.all((await filesBelow(source)).map(recordFile))
      : [];
  return { target, readOnly, ...(await recordFile(source)), ...(below.length > 0 ? { below } : {}) };
}

async function recordFile(source: string): Promise<RecordedFile> {
  const now = await lookAt(source);
  return {
    source,
    bytes: now?.bytes ?? null,
    mtimeNs: now?.mtimeNs ?? null,
    identity: now?.identity ?? null,
  };
}

interface DiskNow {
  identity: string;
  bytes: number;
  /** Files only: a device's time says nothing of its contents. */
  mtimeNs: string | null;
}

async function lookAt(source: string): Promise<DiskNow | null> {
  if (!source.startsWith('/')) return null;
  const stats = await stat(source, { bigint: true }).catch(() => null);
  if (stats?.isBlockDevice())
    return { identity: `device ${stats.rdev}`, bytes: await deviceBytes(stats.rdev), mtimeNs: null };
  if (!stats?.isFile()) return null;
  return {
    identity: `file ${stats.dev}:${stats.ino}`,
    bytes: Number(stats.size),
    mtimeNs: String(stats.mtimeNs),
  };
}

/** Linux tells a block device's size in 512-byte sectors through sysfs; 0 when it does not. */
async function deviceBytes(rdev: bigint): Promise<number> {
  const [major, minor] = [(rdev >> 8n) & 0xfffn, (rdev & 0xffn) | ((rdev >> 12n) & 0xfff00n)];
  const sectors = await readFile(`/sys/dev/block/${major}:${minor}/size`, 'utf8').catch(() => '0');
  return Number(sectors.trim()) * 512;
}

/** In words what changed; null for one that is the same, or of which nothing was known. */
async function changeOf(name: string, disk: RecordedFile): Promise<string | null> {
  if (disk.identity === null) return null;
  const now = await lookAt(disk.source);
  if (now === null) return `${name} is not there`;
  if (kindOf(now.identity) !== kindOf(disk.identity))
    return `${name} was a ${kindOf(disk.identity)}, and is a ${kindOf(now.identity)}`;
  if (inodeOf(now.identity) !== inodeOf(disk.identity))
    return (
      `${name} was replaced by another file (inode ${inodeOf(disk.identity)}, now `
      + `${inodeOf(now.identity)})`
    );
  if (now.bytes !== disk.bytes) return `${name} was ${disk.bytes} bytes long, and is ${now.bytes}`;
  if (now.mtimeNs !== disk.mtimeNs)
    return `${name} was last written ${timeOf(disk.mtimeNs)}, and since then ${timeOf(now.mtimeNs)}`;
  return null;
}

/** "file" or "device". */
function kindOf(identity: string): string {
  return identity.slice(0, identity.indexOf(' '));
}

/**
 * A file's inode number outlives a reboot, as the numbers of devices and file systems need not; empty for
 * devices.
 */
function inodeOf(identity: string): string {
  return /^file \d+:(\d+)$/.exec(identity)?.[1] ?? '';
}

function timeOf(ns: string | null): string {
  return ns === null ? 'at an unknown time' : new Date(Number(BigInt(ns) / 1_000_000n)).toISOString();
}
