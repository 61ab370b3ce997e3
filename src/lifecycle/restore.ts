// SPDX-License-Identifier: Apache-2.0
/** `pars restore`: a stored snapshot becomes a new file, whole or not at all. */
import { randomBytes } from 'node:crypto';
import { link, mkdir, open, rename, unlink, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { bestEffort } from '../system/best-effort.js';
import { isThere } from '../system/absence.js';
import { assemble, filledBytes, outputBytes, type Losses, type Sink } from '../snapshot/assemble.js';
import { syncPath } from '../system/atomic-file.js';
import { ParsError } from '../errors.js';
import { diskFull, refuseTightRoom, reserveRoom } from '../system/disk-space.js';
import { native } from '../native.js';
import { refuseOtherGuest } from '../reader/save-header.js';
import type { OnProgress } from '../progress.js';
import type { MappedBlock } from '../reader/inspection.js';
import { refuseConsumed } from './claims.js';
import { assembleMapped } from '../snapshot/mapped-sink.js';
import { changesOfDisks } from '../disks/compare.js';
import { type RecordedDisk, uncomparedIn } from '../disks/record.js';
import { SnapshotSource } from '../snapshot/snapshot-source.js';
import { knownHost } from '../system/host.js';
import { readManifest } from '../snapshot/snapshots.js';
import type { Store } from '../stores/store.js';

export interface RestoreOptions {
  /** Write over a file that is there; restore from a snapshot whose guest has run on since. */
  force: boolean;
  /** Where disks of the guest are on this host, by their targets. */
  movedDisks?: ReadonlyMap<string, string>;
  signal?: AbortSignal;
  onProgress?: OnProgress;
}

export interface Restored {
  snapshot: string;
  image: string;
  bytes: number;
  losses: Losses;
  /** As the guest had them when it was saved. */
  disks: readonly RecordedDisk[];
}

/** `pars restore --to`: the file is nobody's yet, so disks that have changed are told, not refused (R26). */
export async function restoreToFile(
  store: Store,
  snapshot: string,
  path: string,
  options: RestoreOptions,
): Promise<Restored & { changedDisks: string[] }> {
  if (!options.force) await refuseConsumed(store, await readManifest(store, snapshot), knownHost());
  const restored = await restore(store, snapshot, path, options);
  const changes = await changesOfDisks(restored.disks, { askLibvirt: false, signal: options.signal });
  return { ...restored, changedDisks: [...changes, ...uncomparedIn(restored.disks)] };
}

/** Writes the image of `snapshot` to `path`, every byte at its old offset. */
export async function restore(
  store: Store,
  snapshot: string,
  path: string,
  options: RestoreOptions,
): Promise<Restored> {
  const target = resolve(path);
  if (!options.force) await refuseExisting(target);
  const manifest = await readManifest(store, snapshot);
  const source = await SnapshotSource.open(store, manifest);
  await source.survey();
  const bytes = outputBytes(source.stripes, 'in-place');
  // libvirt's own directory may have been wiped together with the image.
  await mkdir(dirname(target), { recursive: true, mode: 0o700 });
  const losses = await throughTemporary(target, options.force, (file) =>
    fill(file, target, source, bytes, options),
  );
  return { snapshot: manifest.snapshot, image: target, bytes, losses, disks: manifest.disks };
}

async function fill(
  file: FileHandle,
  path: string,
  source: SnapshotSource,
  bytes: number,
  options: RestoreOptions,
): Promise<Losses> {
  const { mappedBlocks } = source.manifest.image;
  const losses = await (mappedBlocks === undefined
    ? fillWhole(file, path, source, bytes, options)
    : fillMapped(file, path, source, mappedBlocks, options));
  await file.truncate(bytes);
  await file.sync();
  refuseOtherGuest(file.fd, source.manifest.domain);
  return losses;
}

async function fillWhole(
  file: FileHandle,
  path: string,
  source: SnapshotSource,
  bytes: number,
  options: RestoreOptions,
): Promise<Losses> {
  await reserveRoom(file.fd, 0, bytes, path);
  return assemble(source, fileSink(file), { layout: 'in-place', firstStripe: 0, ...options });
}

async function fillMapped(
  file: FileHandle,
  path: string,
  source: SnapshotSource,
  blocks: readonly MappedBlock[],
  options: RestoreOptions,
): Promise<Losses> {
  await refuseTightRoom(file.fd, filledBytes(source.stripes), path);
  return assembleMapped(source, blocks, fileSink(file), { firstStripe: 0, ...options });
}

function fileSink(file: FileHandle): Sink {
  return {
    async write(data, offset) {
      for (let done = 0; done < data.length;)
        done += (await file.write(data, done, data.length - done, offset + done)).bytesWritten;
      native().startWriteback(file.fd, offset, data.length);
    },
  };
}

/** A file under a temporary name beside `target`, which takes its place only when `work` is through. */
async function throughTemporary<T>(
  target: string,
  replace: boolean,
  work: (file: FileHandle) => Promise<T>,
): Promise<T> {
  const temporary = join(
    dirname(target),
    `.${basename(target).slice(0, 200)}.${randomBytes(4).toString('hex')}.pars`,
  );
  const file = await open(temporary, 'wx+', 0o600).catch((error: unknown) => {
    throw diskFull(error, target);
  });
  try {
    const result = await work(file).finally(() => file.close());
    await publish(temporary, target, replace);
    return result;
  } catch (error) {
    await bestEffort(unlink(temporary));
    throw diskFull(error, target);
  }
}

async function publish(temporary: string, target: string, replace: boolean): Promise<void> {
  if (replace) {
    await rename(temporary, target);
  } else {
    await link(temporary, target).catch((error: NodeJS.ErrnoException) => {
      throw error.code === 'EEXIST' ? exists(target) : error;
    });
    await unlink(temporary);
  }
  await syncPath(dirname(target));
}

async function refuseExisting(target: string): Promise<void> {
  if (await isThere(target)) throw exists(target);
}

function exists(target: string): ParsError {
  return new ParsError('refused', `${target} exists already`, {
    hint: 'a stub is filled in place with "pars hydrate"; to write over the file: --force',
  });
}
