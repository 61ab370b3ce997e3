// SPDX-License-Identifier: Apache-2.0
/**
 * Whether a guest's disks still are what was recorded of them, before its memory is resumed on them (R26).
 */
import { isReason } from './blockdev.js';
import { ParsError } from '../errors.js';
import { differences, type Fingerprint } from './fingerprint.js';
import { type FileNow, fingerprintOfDisk, fingerprintOfPath, lookAtFile } from './look.js';
import { isOptical, type NamedDisk, placeOf } from './named-disk.js';
import { poolOf, volumePath } from './pools.js';
import {
  describeUncompared,
  isDevice,
  isRaw,
  type LookOptions,
  type RecordedDisk,
  type RecordedFile,
} from './record.js';
import { writtenBetween } from './write-count.js';

export interface CheckOptions extends LookOptions {
  /** The disks as the image's domain XML names them now: it may have been edited since. */
  named?: readonly NamedDisk[] | undefined;
  /** Disks that nobody can compare are taken for unchanged. */
  acceptUncompared: boolean;
  /** The command that goes on all the same; by default the hydration of an image that is there. */
  toAccept?: string;
}

const HYDRATE = 'pars hydrate --accept-changed-disks IMAGE';

/**
 * In words, how each disk differs from what was recorded of it. Disks that nobody can compare are not among
 * them.
 */
export async function changesOfDisks(
  recorded: readonly RecordedDisk[],
  options: Omit<CheckOptions, 'acceptUncompared'>,
): Promise<string[]> {
  const changes: string[] = [];
  for (const disk of recorded) changes.push(...(await changesOfDisk(disk, options)));
  return changes;
}

/**
 * Throws 'refused' when a disk has changed since it was recorded, or nobody can tell: old memory over a newer
 * disk destroys it.
 */
export async function checkDisks(recorded: readonly RecordedDisk[], options: CheckOptions): Promise<void> {
  const changes = await changesOfDisks(recorded, options);
  if (changes.length > 0)
    throw changed('are not what they were when its memory was saved', changes, options.toAccept);
  if (!options.acceptUncompared) refuseUncompared(recorded, options.toAccept);
}

function changed(how: string, changes: readonly string[], toAccept = HYDRATE): ParsError {
  return new ParsError('refused', `the guest's disks ${how}: ${changes.join('; ')}`, {
    hint:
      'put them back; resuming old memory on a changed disk damages its file systems; to do it all '
      + `the same: ${toAccept}`,
  });
}

function refuseUncompared(recorded: readonly RecordedDisk[], toAccept?: string): void {
  const unknown = recorded.filter(({ uncompared }) => uncompared !== undefined).map(describeUncompared);
  if (unknown.length === 0) return;
  throw new ParsError(
    'refused',
    `nobody can tell whether the guest's disks are what they were when its memory was saved: `
      + `${unknown.join('; ')}`,
    {
      hint:
        `if you know that nothing has written to them: ${toAccept ?? HYDRATE}`
        + (toAccept === undefined
          ? ', or accept-uncompared-disks="yes" in the guest\'s metadata (docs/disks.md)'
          : ''),
    },
  );
}

export interface ElsewhereOptions extends LookOptions {
  /** Disks that were moved on purpose: target to path. */
  moved: ReadonlyMap<string, string>;
  acceptUncompared: boolean;
}

/**
 * The same for a host that has not seen the guest before: disks are told by kind, length and time, for inode
 * numbers are this host's own; and those that were moved on purpose by kind and length, for a copy need not
 * have kept its time, nor what it stands on its place. What has a fingerprint is told by that. Every disk of
 * a path must be there.
 */
export async function checkDisksElsewhere(
  recorded: readonly RecordedDisk[],
  options: ElsewhereOptions,
): Promise<void> {
  const problems: string[] = [];
  for (const disk of recorded) problems.push(...(await problemsElsewhere(disk, options)));
  if (problems.length > 0) {
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
  if (!options.acceptUncompared) refuseUncompared(recorded, '--accept-changed-disks');
}

async function changesOfDisk(
  disk: RecordedDisk,
  options: Omit<CheckOptions, 'acceptUncompared'>,
): Promise<string[]> {
  const named = options.named?.find(({ target }) => target === disk.target);
  if (isOld(disk) ? isLeftOut(disk, named) : isOptical({ device: disk.device ?? '' })) return [];
  const edited = editOf(disk, named) ?? (await poolChange(disk, options));
  if (edited !== null) return [edited];
  const changes: (string | null)[] = [];
  for (const [name, file] of layersOf(disk)) changes.push(await changeOfFile(name, file, options));
  if (disk.contents !== undefined)
    changes.push(await changeOfContents(disk, disk.contents, disk.source, options));
  return changes.filter((change) => change !== null);
}

/** Made by a version that did not record what kind of disk it is. */
function isOld({ type }: RecordedDisk): boolean {
  return type === undefined;
}

/** Earlier records call optical drives and <readonly/> disks alike: only the XML tells them apart. */
function isLeftOut({ readOnly }: RecordedDisk, named: NamedDisk | undefined): boolean {
  return readOnly && (named === undefined || isOptical(named));
}

/**
 * "pars restore --set-disk" and "virsh managedsave-edit" make the guest open another disk than the one it was
 * saved with.
 */
function editOf({ type, target, source, pool }: RecordedDisk, named: NamedDisk | undefined): string | null {
  if (named === undefined) return null;
  const was = pool === undefined ? source : `${pool.volume} in pool ${pool.name}`,
    is = placeOf(named);
  const isSame = type === undefined ? source === '' || is === source : named.type === type && is === was;
  return isSame ? null : `${target} was ${was || 'empty'}, and the domain XML names ${is || 'nothing'} now`;
}

/** Its pool may have been redefined, at another place. */
async function poolChange(
  { target, pool }: RecordedDisk,
  { poolDirectories }: LookOptions,
): Promise<string | null> {
  if (pool === undefined || pool.path === null) return null;
  const path = (await poolOf(pool.name, poolDirectories))?.path ?? pool.path;
  return path === pool.path
    ? null
    : `${target} was in pool ${pool.name} at ${pool.path}, and that pool is at ${path} now`;
}

/** The disk and what is below it, each with a name for people. Network disks have none. */
function layersOf({
  target,
  network,
  below = [],
  ...disk
}: RecordedDisk): [name: string, file: RecordedFile][] {
  const top: [string, RecordedFile][] = network === undefined ? [[`${target} (${disk.source})`, disk]] : [];
  return [...top, ...below.map((file): [string, RecordedFile] => [`${file.source}, below ${target},`, file])];
}

/** In words what changed; null for one that is the same, or of which nothing was known. */
export async function changeOfFile(
  name: string,
  file: RecordedFile,
  options: LookOptions,
): Promise<string | null> {
  if (file.identity === null) return null;
  const now = await lookNow(file.source);
  if (typeof now === 'string') return `${name} ${now}`;
  return changeOfFacts(name, file, now) ?? changeOfDevice(name, file, now, options);
}

async function lookNow(path: string): Promise<FileNow | string> {
  try {
    return (await lookAtFile(path)) ?? 'is not there';
  } catch (error) {
    return `cannot be looked at: ${(error as Error).message}`;
  }
}

function changeOfFacts(name: string, file: RecordedFile, now: FileNow): string | null {
  const was = file.identity ?? '';
  if (kindOf(now.identity) !== kindOf(was))
    return `${name} was a ${kindOf(was)}, and is a ${kindOf(now.identity)}`;
  if (inodeOf(now.identity) !== inodeOf(was))
    return `${name} was replaced by another file (inode ${inodeOf(was)}, now ${inodeOf(now.identity)})`;
  if (now.bytes !== file.bytes) return `${name} was ${file.bytes} bytes long, and is ${now.bytes}`;
  if (now.mtimeNs !== file.mtimeNs)
    return `${name} was last written ${timeOf(file.mtimeNs)}, and since then ${timeOf(now.mtimeNs)}`;
  const sectors = file.written === undefined ? null : writtenBetween(file.written, now.written);
  return sectors === null || sectors === 0
    ? null
    : `${name} was written to since, ${Math.abs(sectors) * 512} bytes through this host`;
}

async function changeOfDevice(
  name: string,
  { source, fingerprint }: RecordedFile,
  now: FileNow,
  { signal }: LookOptions,
): Promise<string | null> {
  if (fingerprint === undefined) return null;
  return inWords(name, fingerprint, await fingerprintOfPath(source, now.bytes, signal));
}

async function changeOfContents(
  disk: RecordedDisk,
  contents: Fingerprint,
  path: string,
  { signal }: LookOptions,
): Promise<string | null> {
  const { target, format = '', network = null } = disk;
  const now = await fingerprintOfDisk(
    { format, network },
    network === null ? path : null,
    isDevice(disk),
    signal,
  );
  return inWords(`${target} (${path})`, contents, now);
}

function inWords(name: string, before: Fingerprint, now: Fingerprint | { reason: string }): string | null {
  if (isReason(now)) return `${name} cannot be read: ${now.reason}`;
  const differ = differences(before, now);
  return differ.length === 0 ? null : `${name} ${differ.join(', ')}`;
}

/** Where a disk is on this host; a sentence when it is nowhere. */
async function placeHere(
  disk: RecordedDisk,
  { moved, ...options }: ElsewhereOptions,
): Promise<{ path: string } | string> {
  const path = moved.get(disk.target);
  if (path !== undefined) return { path };
  if (disk.pool === undefined) return { path: disk.source };
  const found = await volumePath(disk.pool.name, disk.pool.volume, options);
  return typeof found === 'string'
    ? { path: found }
    : `${disk.target} (${disk.pool.volume} in pool ${disk.pool.name}) is not here: ${found.reason}`;
}

async function problemsElsewhere(disk: RecordedDisk, options: ElsewhereOptions): Promise<string[]> {
  const place = await placeHere(disk, options);
  if (typeof place === 'string') return [place];
  const isMoved = options.moved.has(disk.target);
  if (!isMoved && disk.network !== undefined) {
    const change =
      disk.contents === undefined ? null : await changeOfContents(disk, disk.contents, disk.source, options);
    return change === null ? [] : [change];
  }
  if (!place.path.startsWith('/')) return [];
  const name = `${disk.target} (${place.path})`;
  const now = await lookNow(place.path);
  if (typeof now === 'string') return [`${name} ${now}`];
  if (isOptical({ device: disk.device ?? '' }) || (isOld(disk) && disk.readOnly)) return [];
  const changes = [await changeHere(name, disk, { path: place.path, now, isMoved }, options)];
  if (!isMoved)
    for (const file of disk.below ?? [])
      changes.push(await changeBelowHere(`${file.source}, below ${disk.target},`, file, options));
  return changes.filter((change) => change !== null);
}

interface Here {
  path: string;
  now: FileNow;
  isMoved: boolean;
}

/** A disk with a fingerprint may be a copy of any kind: its contents count. */
async function changeHere(
  name: string,
  disk: RecordedDisk,
  { path, now, isMoved }: Here,
  { signal }: LookOptions,
): Promise<string | null> {
  const before = disk.contents ?? disk.fingerprint;
  if (before !== undefined && (isMoved || disk.contents !== undefined)) {
    const format = disk.format ?? '',
      device = now.identity.startsWith('device ');
    const seen = isRaw(format)
      ? await fingerprintOfPath(path, now.bytes, signal)
      : await fingerprintOfDisk({ format, network: null }, path, device, signal);
    return inWords(name, before, seen);
  }
  if (disk.identity === null) return null;
  const change = changeOfFacts(name, here(disk, now, isMoved), now);
  return (
    change
    ?? (isMoved ? null : changeOfDevice(name, { ...disk, source: path }, now, { askLibvirt: false, signal }))
  );
}

async function changeBelowHere(
  name: string,
  file: RecordedFile,
  options: LookOptions,
): Promise<string | null> {
  const now = await lookNow(file.source);
  if (typeof now === 'string') return `${name} ${now}`;
  if (file.identity === null) return null;
  return changeOfFacts(name, here(file, now, false), now) ?? changeOfDevice(name, file, now, options);
}

/** What another host recorded, without what is that host's own. */
function here(file: RecordedFile, now: FileNow, isMoved: boolean): RecordedFile {
  const kind = kindOf(file.identity ?? '');
  return {
    ...file,
    identity: `${kind} ${now.identity.slice(kindOf(now.identity).length + 1)}`,
    mtimeNs: isMoved ? now.mtimeNs : file.mtimeNs,
    written: undefined,
  };
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
