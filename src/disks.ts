/** The disks a saved guest was using: what they were when it was saved, and whether they are still that (R26). */
import { readFile, stat } from 'node:fs/promises';
import { ParsError } from './errors.js';
import type { Manifest } from './manifest.js';

export type RecordedDisk = Manifest['disks'][number];

/** A disk as the domain XML names it. */
export interface NamedDisk {
  target: string;
  /** Path of a file or device; empty for network disks. */
  source: string;
  readOnly: boolean;
}

/** What the disks are right now. Disks that are not local, or not there, are recorded by name alone. */
export async function recordDisks(disks: readonly NamedDisk[]): Promise<RecordedDisk[]> {
  return Promise.all(disks.map(recordDisk));
}

/** Throws 'refused' when a writable disk has changed since it was recorded: old memory over a newer disk destroys it. */
export async function checkDisks(recorded: readonly RecordedDisk[]): Promise<void> {
  const changes = (await Promise.all(recorded.filter((disk) => !disk.readOnly).map(changeOf))).filter((change) => change !== null);
  if (changes.length === 0) return;
  throw new ParsError('refused', `the guest's disks are not what they were when its memory was saved: ${changes.join('; ')}`, {
    hint: 'resuming old memory on a changed disk damages its file systems; to do it all the same: pars hydrate --accept-changed-disks IMAGE',
  });
}

async function recordDisk({ target, source, readOnly }: NamedDisk): Promise<RecordedDisk> {
  const now = await lookAt(source);
  return { target, source, readOnly, bytes: now?.bytes ?? null, mtimeNs: now?.mtimeNs ?? null, identity: now?.identity ?? null };
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
  if (stats?.isBlockDevice()) return { identity: `device ${stats.rdev}`, bytes: await deviceBytes(stats.rdev), mtimeNs: null };
  if (!stats?.isFile()) return null;
  return { identity: `file ${stats.dev}:${stats.ino}`, bytes: Number(stats.size), mtimeNs: String(stats.mtimeNs) };
}

/** Linux tells a block device's size in 512-byte sectors through sysfs; 0 when it does not. */
async function deviceBytes(rdev: bigint): Promise<number> {
  const [major, minor] = [(rdev >> 8n) & 0xfffn, (rdev & 0xffn) | ((rdev >> 12n) & 0xfff00n)];
  const sectors = await readFile(`/sys/dev/block/${major}:${minor}/size`, 'utf8').catch(() => '0');
  return Number(sectors.trim()) * 512;
}

/** In words what changed; null for a disk that is the same, or of which nothing was known. */
async function changeOf(disk: RecordedDisk): Promise<string | null> {
  if (disk.identity === null) return null;
  const now = await lookAt(disk.source);
  const name = `${disk.target} (${disk.source})`;
  if (now === null) return `${name} is not there`;
  if (kindOf(now.identity) !== kindOf(disk.identity)) return `${name} was a ${kindOf(disk.identity)}, and is a ${kindOf(now.identity)}`;
  if (inodeOf(now.identity) !== inodeOf(disk.identity)) return `${name} was replaced by another file (inode ${inodeOf(disk.identity)}, now ${inodeOf(now.identity)})`;
  if (now.bytes !== disk.bytes) return `${name} was ${disk.bytes} bytes long, and is ${now.bytes}`;
  if (now.mtimeNs !== disk.mtimeNs) return `${name} was last written ${timeOf(disk.mtimeNs)}, and since then ${timeOf(now.mtimeNs)}`;
  return null;
}

/** "file" or "device". */
function kindOf(identity: string): string {
  return identity.slice(0, identity.indexOf(' '));
}

/** A file's inode number outlives a reboot, as the numbers of devices and file systems need not; empty for devices. */
function inodeOf(identity: string): string {
  return /^file \d+:(\d+)$/.exec(identity)?.[1] ?? '';
}

function timeOf(ns: string | null): string {
  return ns === null ? 'at an unknown time' : new Date(Number(BigInt(ns) / 1_000_000n)).toISOString();
}
