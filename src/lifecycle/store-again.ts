// SPDX-License-Identifier: Apache-2.0
/**
 * The last resort of a repair: critical data of a snapshot is in no copy, but the image it was made of is
 * whole on this host again. A new snapshot is made of it. The damaged one stays: an image with the same head
 * need not be of the same save, and a disk may come back.
 */
import { ParsError } from '../errors.js';
import { ImageFile } from '../image/image-file.js';
import type { Manifest } from '../snapshot/manifest.js';
import { offload } from './offload.js';
import type { OffloadPlace } from './offload-request.js';
import { probeImage } from '../reader/reader.js';
import { findSnapshot, ownerOf } from '../snapshot/snapshots.js';

const LEVEL = 1;

/**
 * Stores the image of a damaged snapshot again and leaves the image as it is; null when there is no such
 * image here, or the snapshot is another host's (R27).
 */
export async function storeAgain(
  manifest: Manifest,
  place: OffloadPlace,
  signal?: AbortSignal,
): Promise<string | null> {
  const entry = await findSnapshot(place.store, manifest.snapshot);
  if (
    entry.condition !== 'whole'
    || entry.state === 'consumed'
    || ownerOf(entry).machineId !== place.host.machineId
  )
    return null;
  if (!(await isWhole(manifest))) return null;
  const { snapshot } = await offload(manifest.image.path, place, {
    policy: manifest.policy,
    policyIsFixed: true,
    keepLocal: true,
    force: true,
    managedSave: manifest.image.managedSave,
    leaseWaitMs: 0,
    level: LEVEL,
    ...(signal && { signal }),
  });
  return snapshot;
}

/** A whole image of the same guest with the same head, at the place the snapshot was made from. */
async function isWhole({ image: { path, headEnd, headDigest }, domain }: Manifest): Promise<boolean> {
  const file = await ImageFile.open(path).catch(notKnown(null));
  if (file === null) return false;
  try {
    const facts = await probeImage(file.fd);
    if (
      facts.stubRecord !== null
      || facts.domain.uuid !== domain.uuid
      || facts.headEnd !== headEnd
      || headEnd === 0
    )
      return false;
    return (await file.digest(facts.streamOffset, headEnd)) === headDigest;
  } catch (error) {
    return notKnown(false)(error);
  } finally {
    await file.close();
  }
}

/** An image that cannot be read is not known to be whole, and nothing is stored of it. */
function notKnown<T>(answer: T): (error: unknown) => T {
  return (error) => {
    if (error instanceof ParsError && error.kind !== 'internal') return answer;
    throw error;
  };
}
