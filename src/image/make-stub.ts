// SPDX-License-Identifier: Apache-2.0
/**
 * The one moment in which an image becomes a stub (R15, R17): under a write lease, so that libvirt sees a
 * whole image or a whole stub; on an unchanged file only; the record first, the hole after it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ParsError } from '../errors.js';
import { isWithoutHoles, noHoles, noLeases } from './fit-for-stub.js';
import { changesBetween, type ImageFile, type ImageIdentity } from './image-file.js';
import { native } from '../native.js';
import type { RecordChanges } from './record-change.js';
import { encodeStub, type StubRecord } from './stub.js';
import { steadyMs } from '../system/steady-clock.js';

export const STUB_STEPS = ['leased', 'recorded', 'punched', 'stubbed'] as const;
export type StubStep = (typeof STUB_STEPS)[number];

export interface LeaseOptions {
  /** How long to wait for whoever has the image open. */
  leaseWaitMs: number;
  signal?: AbortSignal;
}

export interface MakeStubOptions extends LeaseOptions {
  /** Where the change is noted while it is being made. */
  changes: RecordChanges;
  /** Throws when the store does not hold any more what the stub is to stand for. */
  refuseRemoved: () => Promise<void>;
  /** What is to stand right before the record. */
  preamble?: Buffer;
  onStep?: (step: StubStep) => void;
}

/** What became of the image. Only of a whole one may the snapshot be dropped. */
export type StubOutcome =
  { state: 'whole'; error: unknown } | { state: 'stub'; freedBytes: number; error: unknown };

const LEASE_POLL_MS = 200;

/**
 * Turns `image` into the stub `record`, if it is still what it was at `identity`. 'busy' when somebody has it
 * open or it has changed. `image` must be open for durable writing.
 */
export async function makeStub(
  image: ImageFile,
  identity: ImageIdentity,
  record: StubRecord,
  options: MakeStubOptions,
): Promise<StubOutcome> {
  try {
    return await underLease(image, options, async (fd) => {
      await options.refuseRemoved();
      refuseChanged(image, identity, await image.identity());
      const allocated = await image.allocatedBytes();
      const outcome = await replaceByRecord(image, fd, record, options);
      if (outcome.state === 'whole') return outcome;
      options.onStep?.('stubbed');
      if (await isNobodys(image, fd)) throw removed(image.path);
      return { ...outcome, freedBytes: allocated - (await image.allocatedBytes()) };
    });
  } catch (error) {
    return { state: 'whole', error };
  }
}

/**
 * Frees what a stub still holds behind its record, as one does whose offload or hydration was killed; returns
 * the bytes freed.
 */
export async function finishStub(
  image: ImageFile,
  record: StubRecord,
  options: LeaseOptions,
): Promise<number> {
  return underLease(image, options, async (fd) => {
    const allocated = await image.allocatedBytes();
    // What is not changed must not look as if it were: the queue would try it again at once.
    if (Number((await image.identity()).bytes) !== record.imageBytes) await image.truncate(record.imageBytes);
    await punchBehind(fd, record).catch((error: unknown) => {
      throw isWithoutHoles(error) ? noHoles(image.path, error) : error;
    });
    await image.sync();
    return allocated - (await image.allocatedBytes());
  });
}

/**
 * Never throws once the file may have been changed: the answer says which of the two it is. A change that
 * failed stays noted: it may be half there.
 */
async function replaceByRecord(
  image: ImageFile,
  fd: number,
  record: StubRecord,
  options: MakeStubOptions,
): Promise<StubOutcome> {
  const preamble = options.preamble ?? Buffer.alloc(0),
    bytes = Buffer.concat([preamble, encodeStub(record)]),
    from = record.offset - preamble.length;
  const before = await image.read(from, bytes.length);
  const forget = await options.changes.note(image, { offset: from, stub: bytes, image: before });
  options.onStep?.('leased');
  if (!native().leaseHeld(fd)) {
    await forget();
    throw wanted(image.path);
  }
  try {
    await image.write(bytes, from);
    options.onStep?.('recorded');
    await punchBehind(fd, record);
    options.onStep?.('punched');
    await takeLength(image, record);
    await image.sync();
    await forget();
    return { state: 'stub', freedBytes: 0, error: null };
  } catch (error) {
    return putBack(image, before, from, error);
  }
}

/**
 * A file system without holes changed nothing but the record's bytes, which can be put back; after any other
 * failure the stub stays.
 */
async function putBack(image: ImageFile, before: Buffer, from: number, error: unknown): Promise<StubOutcome> {
  if (!isWithoutHoles(error)) return { state: 'stub', freedBytes: 0, error };
  try {
    await image.write(before, from);
    await image.sync();
    return { state: 'whole', error: noHoles(image.path, error) };
  } catch (second) {
    if (error instanceof Error) error.cause ??= second;
    return { state: 'stub', freedBytes: 0, error };
  }
}

async function punchBehind(fd: number, record: StubRecord): Promise<void> {
  const from = record.offset + encodeStub(record).length;
  if (from < record.imageBytes) await native().punchHole(fd, from, record.imageBytes - from);
}

/** An image that was refilled may have another length than the one that was offloaded. */
async function takeLength(image: ImageFile, { imageBytes }: StubRecord): Promise<void> {
  if (Number((await image.identity()).bytes) !== imageBytes) await image.truncate(imageBytes);
}

/**
 * A lease is granted only while nobody else has the file open; whoever opens it meanwhile waits until it is
 * given up.
 */
async function underLease<T>(
  image: ImageFile,
  options: LeaseOptions,
  work: (fd: number) => Promise<T>,
): Promise<T> {
  const fd = await image.keepOnlyWritable();
  const end = steadyMs() + options.leaseWaitMs;
  while (!lease(fd, image.path)) {
    options.signal?.throwIfAborted();
    if (steadyMs() >= end) throw inUse(image.path);
    await sleep(LEASE_POLL_MS);
  }
  try {
    return await work(fd);
  } finally {
    native().releaseLease(fd);
  }
}

function lease(fd: number, path: string): boolean {
  try {
    return native().takeWriteLease(fd);
  } catch (error) {
    throw noLeases(path, error);
  }
}

/**
 * The file lost its last name at the last moment, and nobody waits to open it: no guest will ever ask for it.
 */
async function isNobodys(image: ImageFile, fd: number): Promise<boolean> {
  return (await image.identity()).nlink === 0n && native().leaseHeld(fd);
}

function removed(path: string): ParsError {
  return new ParsError(
    'busy',
    `${path} was removed while it was being stored: its guest was started, or the save was discarded`,
  );
}

function refuseChanged(image: ImageFile, before: ImageIdentity, now: ImageIdentity): void {
  if (now.nlink === 0n) throw removed(image.path);
  const changes = changesBetween(before, now);
  if (changes.length === 0) return;
  throw new ParsError('busy', `${image.path} changed while it was being stored (${changes.join(', ')})`, {
    hint: 'it is whole; offload it again',
  });
}

function inUse(path: string): ParsError {
  return new ParsError('busy', `${path} is open in another program, so it cannot become a stub now`, {
    hint: 'it is whole; offload it again when nobody reads it',
  });
}

function wanted(path: string): ParsError {
  return new ParsError('busy', `${path} was opened by another program just before it became a stub`, {
    hint: 'it is whole; if its guest is not starting, offload it again',
  });
}
