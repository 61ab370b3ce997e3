// SPDX-License-Identifier: Apache-2.0
/**
 * What an offload asks of the memory file of one of libvirt's snapshots, beyond what it asks of a save. A
 * revert of a running guest ends that guest before any hook is called, so a stub that cannot be refilled then
 * costs more than a start that fails.
 */
import { stat } from 'node:fs/promises';
import { ParsError } from '../errors.js';
import { filesBelow } from '../disks/backing-files.js';
import { changeOfFile } from '../disks/compare.js';
import { lookAtFile } from '../disks/look.js';
import { isDevice, type RecordedFile } from '../disks/record.js';
import { examine } from '../health/snapshot-health.js';
import type { ImageIdentity } from '../image/image-file.js';
import { isCompressed } from '../image/save-format.js';
import type { DiskSource } from '../libvirt/disk-sources.js';
import type { MemorySnapshot } from '../libvirt/memory-snapshots.js';
import type { Manifest } from '../snapshot/manifest.js';
import type { Store } from '../stores/store.js';
import type { ImageFacts } from '../reader/inspection.js';
import { ifThere, statIfThere } from '../system/absence.js';
import { writersAmong } from '../system/open-files.js';

type Disks = ImageFacts['domain']['disks'];

const DAEMONS = ['libvirtd', 'virtqemud'];

/**
 * Throws 'refused' for a file that could not be refilled in time by a revert, or could not become a stub at
 * all.
 */
export async function refuseUnrevertable(
  path: string,
  format: string,
  identity: Pick<ImageIdentity, 'dev' | 'ino'>,
  { domain, name }: MemorySnapshot,
): Promise<void> {
  const what = `${path} is the memory of libvirt's snapshot ${name} of ${domain}`;
  if (isCompressed(format))
    throw new ParsError(
      'refused',
      `${what}, compressed as ${format}: when libvirt reverts to it, its decompressor has read ahead `
        + `before any hook is called`,
      {
        hint:
          'set snapshot_image_format = "raw" in qemu.conf for the next snapshots; '
          + 'store a copy of this one with --keep-local; '
          + 'or offload it with --force, and "pars hydrate" it by hand before each revert',
      },
    );
  const writers = await writersAmong(DAEMONS, identity);
  if (writers.length === 0) return;
  throw new ParsError('refused', `${what}, and ${writers.join(', ')} still has it open for writing`, {
    hint:
      'libvirt keeps sparse memory files open until it is restarted (guests go on): restart it, then '
      + 'offload this again; '
      + 'or set snapshot_image_format = "raw" in qemu.conf',
  });
}

/**
 * The disks that the XML in a memory file names, where libvirt's snapshot has them: those are what the memory
 * belongs to (R26). A disk without a path stays as it is.
 */
export function withSources(disks: Disks, sources: readonly DiskSource[]): Disks {
  const byTarget = new Map(sources.map((source) => [source.target, source]));
  return disks.map((disk) => {
    const now = byTarget.get(disk.target);
    if (now === undefined || now.source === '') return disk;
    return { ...disk, source: now.source, format: now.format, type: now.blockDevice ? 'block' : 'file' };
  });
}

/**
 * What must still hold of the recorded disks when libvirt gives a guest the disks `now` by a revert. A disk
 * that reads through the files that were recorded must be as it was. Deleting another snapshot merges a file
 * of it into the one below, and rewrites the header of the one above: then those two say nothing by their
 * times, and the rest of the files must be as they were. Throws 'refused' for any other disk.
 */
export async function disksAtRevert(
  recorded: Manifest['disks'],
  now: readonly DiskSource[],
): Promise<Manifest['disks']> {
  const byTarget = new Map(now.map(({ target, source }) => [target, source]));
  const kept: Manifest['disks'] = [];
  for (const disk of recorded) {
    const source = byTarget.get(disk.target) ?? '';
    const merged = source === '' ? null : await mergedFiles(disk, source);
    if (merged === null) kept.push(disk);
    else await refuseTouched(disk, merged);
  }
  return kept;
}

/**
 * The recorded files that are gone, merged into others; null when the disk reads through all that were
 * recorded.
 */
async function mergedFiles(disk: Manifest['disks'][number], source: string): Promise<string[] | null> {
  const before = [disk.source, ...(disk.below ?? []).map((file) => file.source)];
  const after = [source, ...(await filesBelow(source)).files.map(({ path }) => path)];
  if (after.join('\0') === before.join('\0') || (source === disk.source && !(await isFile(source))))
    return null;
  const merged = before.filter((path) => !after.includes(path));
  const rest = before.filter((path) => after.includes(path));
  const isMerge = merged.length > 0 && rest.join('\0') === after.join('\0');
  if (isMerge && !(await anyIsThere(merged))) return merged;
  if (source === disk.source) return null; // compared as it was recorded, which says what differs
  throw elsewhere(disk, source);
}

async function anyIsThere(paths: readonly string[]): Promise<boolean> {
  for (const path of paths) if (await isFile(path)) return true;
  return false;
}

/**
 * Of the files that stay, each must be the very file that it was, and those that no merge has touched as they
 * were.
 */
async function refuseTouched(disk: Manifest['disks'][number], merged: readonly string[]): Promise<void> {
  const files = [disk, ...(disk.below ?? [])];
  for (const [i, file] of files.entries()) {
    if (merged.includes(file.source)) continue;
    const beside = [files[i - 1], files[i + 1]].some((next) => next && merged.includes(next.source));
    if (await (isDevice(file) ? isDeviceAsBefore : isFileAsBefore)(file, beside)) continue;
    throw new ParsError(
      'refused',
      `${file.source}, below ${disk.target}, has changed since the guest's memory was saved`,
      { hint: ACCEPT },
    );
  }
}

async function isFileAsBefore(
  { source, bytes, mtimeNs, identity }: RecordedFile,
  mergedInto: boolean,
): Promise<boolean> {
  const now = await ifThere(source, (at) => stat(at, { bigint: true }), null);
  if (now === null || !(identity?.endsWith(`:${now.ino}`) ?? true)) return false;
  return mergedInto || (Number(now.size) === bytes && String(now.mtimeNs) === mtimeNs);
}

async function isDeviceAsBefore(device: RecordedFile, mergedInto: boolean): Promise<boolean> {
  if (!mergedInto) return (await changeOfFile('', device, { askLibvirt: false })) === null;
  const now = await lookAtFile(device.source);
  return now !== null && isDevice(now) && now.bytes === device.bytes;
}

async function isFile(path: string): Promise<boolean> {
  const stats = await statIfThere(path);
  return stats !== null && (stats.isFile() || stats.isBlockDevice());
}

const ACCEPT =
  'resuming old memory on another disk damages its file systems; to do it all the same: '
  + 'pars hydrate --accept-changed-disks IMAGE';

function elsewhere({ target, source }: Manifest['disks'][number], now: string): ParsError {
  const message =
    `${target} was ${source} when the guest's memory was saved, and would be another disk ` + `now: ${now}`;
  return new ParsError('refused', message, { hint: ACCEPT });
}

/**
 * Throws unless every copy of everything critical is seen in the store once more, after the last of it was
 * written: manifest, index, and each pack without which the memory is lost.
 */
export async function proveCritical(
  store: Store,
  { snapshot }: Manifest,
  signal?: AbortSignal,
): Promise<void> {
  const { findings } = await examine(store, snapshot, { percent: 0, ...(signal && { signal }) });
  const doubtful = findings.filter(
    ({ role, critical, condition }) => critical && role !== 'state' && condition !== 'intact',
  );
  if (doubtful.length === 0) return;
  const named = doubtful
    .map(({ name, health }) => `${name} (${health.good} of ${health.wanted} copies)`)
    .join(', ');
  throw new ParsError('unreachable', `not every copy of ${snapshot} is seen in the store: ${named}`, {
    hint:
      'a revert would end the running guest before it could fail, so the memory file stays whole; '
      + 'see: pars store status',
  });
}

export function becameMemory(path: string): ParsError {
  return new ParsError(
    'busy',
    `${path} has become the memory of one of libvirt's snapshots since its offload began`,
    { hint: 'offload it again' },
  );
}
