// SPDX-License-Identifier: Apache-2.0
/** Reads from whichever directory has a good copy, and says of every copy what was wrong with it. */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing } from '../../system/absence.js';
import { ParsError } from '../../errors.js';
import { type Files } from './files.js';
import { type Absence, describeAbsences } from './locations.js';
import { type CopyFault, MAX_WHOLE_BYTES, type StoredObject } from '../store.js';

/** Why a copy could not be used. */
type Fault = CopyFault['fault'];

export interface Attempt {
  directory: string;
  fault: Fault;
  detail: string;
}

/**
 * Runs `read` on the file and turns what goes wrong into a fault. A disk that answers with errors is
 * unreachable, not corrupt: it was not seen.
 */
export async function tryCopy<T>(
  files: Files,
  directory: string,
  name: string,
  read: (handle: FileHandle) => Promise<T>,
): Promise<T | Attempt> {
  try {
    const handle = await files.open(join(directory, name), 'r');
    try {
      return await read(handle);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof CopyError) return { directory, fault: error.fault, detail: error.message };
    if (isMissing(error)) return { directory, fault: 'missing', detail: 'missing' };
    return {
      directory,
      fault: 'unreachable',
      detail: error instanceof Error ? error.message : String(error),
    };
  }
}

/** A fault found while reading a copy. */
export class CopyError extends Error {
  readonly fault: Fault;

  constructor(fault: Fault, message: string) {
    super(message);
    this.fault = fault;
  }
}

export function isAttempt(value: unknown): value is Attempt {
  return typeof value === 'object' && value !== null && 'fault' in value;
}

/** The bytes of a range, if their digest is right. The length is checked before memory is taken. */
export async function readProven(
  handle: FileHandle,
  offset: number,
  bytes: number,
  sha256: string,
): Promise<Buffer> {
  const { size } = await handle.stat();
  if (offset + bytes > size)
    throw new CopyError('corrupt', `too short (${size} bytes, ${offset + bytes} needed)`);
  const data = await readFully(handle, offset, bytes);
  if (createHash('sha256').update(data).digest('hex') !== sha256)
    throw new CopyError('corrupt', `bytes ${offset} to ${offset + bytes} do not match their digest`);
  return data;
}

export async function readSmallFile(handle: FileHandle): Promise<Buffer> {
  const { size } = await handle.stat();
  if (size > MAX_WHOLE_BYTES)
    throw new CopyError('corrupt', `too long (${size} bytes, at most ${MAX_WHOLE_BYTES} expected)`);
  return readFully(handle, 0, size);
}

/**
 * The error for a name of which no copy could be used: the worst that the caller can still do something
 * about. A copy that cannot be reached may yet be good; without such, one that is corrupt says that the
 * object was there.
 */
export function noGoodCopy(
  name: string,
  attempts: readonly Attempt[],
  absent: readonly Absence[],
): ParsError {
  const kind = firstFault(['unreachable', 'corrupt'], attempts, absent) ?? 'missing';
  const what = kind === 'missing' ? 'does not exist' : 'has no good copy';
  return new ParsError(kind, `${name} ${what} (${describeFaults(attempts, absent)})`, hintFor(kind));
}

/**
 * The error for an object that is not proven to be there as often as it should. Here one bad copy is reason
 * enough.
 */
export function notProven(
  object: StoredObject,
  good: number,
  attempts: readonly Attempt[],
  absent: readonly Absence[],
): ParsError {
  const kind = firstFault(['corrupt', 'unreachable'], attempts, absent) ?? 'missing';
  const message =
    `${object.name}: ${good} of ${object.copies} copies are proven `
    + `(${describeFaults(attempts, absent)})`;
  return new ParsError(kind, message, hintFor(kind));
}

function firstFault(
  order: readonly Fault[],
  attempts: readonly Attempt[],
  absent: readonly Absence[],
): Fault | undefined {
  const seen = new Set<Fault>(attempts.map(({ fault }) => fault));
  if (absent.length > 0) seen.add('unreachable');
  return order.find((fault) => seen.has(fault));
}

/** What was wrong with each copy. Of a directory that is not there, only that is said. */
function describeFaults(attempts: readonly Attempt[], absent: readonly Absence[]): string {
  const isAbsent = (directory: string): boolean => absent.some((place) => place.directory === directory);
  const tried = attempts
    .filter(({ directory }) => !isAbsent(directory))
    .map(({ directory, detail }) => `${directory}: ${detail}`);
  return [...tried, ...(absent.length > 0 ? [describeAbsences(absent)] : [])].join('; ');
}

function hintFor(kind: Fault): { hint?: string } {
  return kind === 'unreachable'
    ? { hint: 'nothing says that it is lost: mount the disks that are not there, and try again' }
    : {};
}

/** Contents of all copies, the most frequent first. */
export function distinctContents(copies: readonly Buffer[]): Buffer[] {
  const groups = new Map<string, { data: Buffer; count: number }>();
  for (const data of copies) {
    const key = createHash('sha256').update(data).digest('hex');
    const group = groups.get(key);
    if (group) group.count++;
    else groups.set(key, { data, count: 1 });
  }
  return [...groups.values()].sort((a, b) => b.count - a.count).map(({ data }) => data);
}

async function readFully(handle: FileHandle, offset: number, bytes: number): Promise<Buffer> {
  const data = Buffer.allocUnsafe(bytes);
  for (let done = 0; done < bytes;) {
    const { bytesRead } = await handle.read(data, done, bytes - done, offset + done);
    if (bytesRead === 0)
      throw new CopyError('corrupt', `ended after ${offset + done} bytes while it was read`);
    done += bytesRead;
  }
  return data;
}
