// SPDX-License-Identifier: Apache-2.0
/**
 * Fills a stub with what its snapshot holds, in place: room first, then everything but the record's range,
 * synced, then that range (R17). At every instant before its end the file is a stub.
 */
import { awaitedElsewhere } from '../system/best-effort.js';
import { Filter } from '../image/filter.js';
import type { ImageFile } from '../image/image-file.js';
import { commandFor, isCompressed, type CompressedFormat } from '../image/save-format.js';
import type { StubRecord } from '../image/stub.js';
import type { OnProgress } from '../progress.js';
import type { ImageFacts, MappedBlock } from '../reader/inspection.js';
import { diskFull, refuseTightRoom, reserveRoom } from '../system/disk-space.js';
import { assemble, filledBytes, outputBytes, type Losses } from '../snapshot/assemble.js';
import { assembleInOrder } from '../snapshot/assemble-in-order.js';
import { assembleMapped } from '../snapshot/mapped-sink.js';
import type { SnapshotSource } from '../snapshot/snapshot-source.js';
import type { RecordChanges } from '../image/record-change.js';
import { GuardedRange } from './guarded-range.js';

export type RefillStep = 'reserved' | 'assembled' | 'shortened' | 'synced' | 'refilled';

export interface RefillOptions {
  /** Where the last change is noted while it is being made. */
  changes: RecordChanges;
  /** Where disks of the guest are now, by their targets. */
  movedDisks?: ReadonlyMap<string, string>;
  signal?: AbortSignal;
  onProgress?: OnProgress;
  onStep?: (step: RefillStep) => void;
}

/** Length of an image that is not compressed, when it is hydrated: a sparse one keeps its own. */
export function hydratedBytes({ manifest, stripes }: SnapshotSource): number {
  return outputBytes(stripes, manifest.image.mappedBlocks === undefined ? 'packed' : 'in-place');
}

export interface Refilled {
  losses: Losses;
  /** Length of the file. */
  bytes: number;
}

/** Makes the stub `record` an image again; after a failure it is a stub as before. */
export async function refill(
  image: ImageFile,
  { format, streamOffset }: ImageFacts,
  source: SnapshotSource,
  record: StubRecord,
  options: RefillOptions,
): Promise<Refilled> {
  const { mappedBlocks } = source.manifest.image;
  const range = await (isCompressed(format)
    ? GuardedRange.around(image, streamOffset, record, Infinity)
    : GuardedRange.around(image, record.offset, record, hydratedBytes(source)));
  try {
    const refilled = isCompressed(format)
      ? await writePacked(image, format, source, record, range, options)
      : mappedBlocks !== undefined
        ? await writeMapped(image, source, mappedBlocks, range, options)
        : await writePages(image, source, record, range, options);
    await image.truncate(refilled.bytes);
    options.onStep?.('shortened');
    await image.sync();
    options.onStep?.('synced');
    options.signal?.throwIfAborted();
    await range.writeHeld(refilled.bytes, options.changes);
    options.onStep?.('refilled');
    return refilled;
  } catch (error) {
    await range.backToStub(record);
    throw diskFull(error, image.path);
  }
}

/** A raw image: every stripe where it belongs. */
async function writePages(
  image: ImageFile,
  source: SnapshotSource,
  record: StubRecord,
  range: GuardedRange,
  options: RefillOptions,
): Promise<Refilled> {
  const bytes = outputBytes(source.stripes, 'packed');
  await reserveRoom(await image.writable(), record.offset, bytes - record.offset, image.path);
  options.onStep?.('reserved');
  const losses = await assemble(source, range, { layout: 'packed', firstStripe: 1, ...options });
  options.onStep?.('assembled');
  return { losses, bytes };
}

/**
 * A sparse one: every page in its place, and holes where there are none. Nobody can reserve room without
 * filling the holes.
 */
async function writeMapped(
  image: ImageFile,
  source: SnapshotSource,
  blocks: readonly MappedBlock[],
  range: GuardedRange,
  options: RefillOptions,
): Promise<Refilled> {
  const { bytes } = source.manifest.image;
  await range.emptyBehind(bytes);
  await refuseTightRoom(await image.writable(), filledBytes(source.stripes), image.path);
  options.onStep?.('reserved');
  const losses = await assembleMapped(source, blocks, range, { firstStripe: 1, ...options });
  options.onStep?.('assembled');
  return { losses, bytes };
}

/**
 * A compressed one: its stream through the compressor that libvirt reads it with. How long that will be
 * nobody knows: room for what it was is made sure of.
 */
async function writePacked(
  image: ImageFile,
  format: CompressedFormat,
  source: SnapshotSource,
  record: StubRecord,
  range: GuardedRange,
  options: RefillOptions,
): Promise<Refilled> {
  const command = commandFor(format, 'pack');
  const { streamOffset } = source.manifest.image;
  await reserveRoom(await image.writable(), streamOffset, record.imageBytes - streamOffset, image.path);
  options.onStep?.('reserved');
  const refilled = await assembleInOrder(source, { from: streamOffset, ...options }, async (produce) => {
    const filter = new Filter(command, 'pipe', options.signal);
    try {
      const written = writeAll(filter, range, streamOffset).catch(async (error: unknown) => {
        await filter.close();
        throw error;
      });
      awaitedElsewhere(written);
      const losses = await produce((data) => filter.write(data)).catch((error: unknown) =>
        failureOf(written, filter, error),
      );
      filter.end();
      const bytes = await written;
      await filter.finish();
      return { losses, bytes };
    } finally {
      await filter.close();
    }
  });
  options.onStep?.('assembled');
  return refilled;
}

/**
 * Why the stream went nowhere: a full disk, before the end of the compressor that follows from it. Nothing is
 * written any more when this throws.
 */
async function failureOf(written: Promise<number>, filter: Filter, error: unknown): Promise<never> {
  await filter.close();
  await written;
  throw error;
}

/** Writes what the compressor makes; returns where it ends. */
async function writeAll(filter: Filter, range: GuardedRange, from: number): Promise<number> {
  let at = from;
  for await (const piece of filter.output()) {
    await range.write(piece, at);
    at += piece.length;
  }
  return at;
}
