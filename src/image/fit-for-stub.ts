// SPDX-License-Identifier: Apache-2.0
/**
 * Whether an image could become a stub where it lies. Asked before it is stored: what its file system lacks
 * would be found out only after all of it was sent, and again at every try.
 */
import { dirname } from 'node:path';
import { ParsError } from '../errors.js';
import { native } from '../native.js';
import { codeOf } from '../system/absence.js';
import { openNameless } from '../system/nameless-file.js';
import type { ImageFile } from './image-file.js';

const PROBE_BYTES = 64 << 10;

export async function refuseUnfit(image: ImageFile): Promise<void> {
  refuseNoLease(image.path, await image.writable());
  await refuseNoHoles(image.path);
}

/** While the image is open here more than once none is granted: that says that there are leases. */
function refuseNoLease(path: string, fd: number): void {
  try {
    if (native().takeWriteLease(fd)) native().releaseLease(fd);
  } catch (cause) {
    throw noLeases(path, cause);
  }
}

export function noLeases(path: string, cause: unknown): ParsError {
  return new ParsError(
    'refused',
    `the file system of ${path} grants no lease on it (${(cause as Error).message}), so it cannot become a `
      + 'stub: nobody could tell whether its guest is just being started',
    { hint: ELSEWHERE, cause },
  );
}

/** Tried on a file of its own beside it. Where none can be made nothing is known, and the image will tell. */
async function refuseNoHoles(path: string): Promise<void> {
  const [opened] = await Promise.allSettled([openNameless(dirname(path), 'probe')]);
  if (opened.status === 'rejected') return;
  const file = opened.value;
  try {
    await file.write(Buffer.alloc(PROBE_BYTES, 1));
    await native().punchHole(file.fd, 0, PROBE_BYTES);
  } catch (error) {
    if (isWithoutHoles(error)) throw noHoles(path, error);
  } finally {
    await file.close();
  }
}

export function isWithoutHoles(error: unknown): boolean {
  return codeOf(error) === 'EOPNOTSUPP';
}

export function noHoles(path: string, cause: unknown): ParsError {
  return new ParsError(
    'refused',
    `the file system of ${path} cannot punch holes, so the image cannot become a stub`,
    { hint: ELSEWHERE, cause },
  );
}

const ELSEWHERE =
  'store it without freeing it: pars offload --keep-local; or keep saves on ext4, XFS, btrfs or tmpfs';
