// SPDX-License-Identifier: Apache-2.0
/** The look inside an image that is to be stored, and the comparison with the guest's disks. */
import type { ImageFile } from '../image/image-file.js';
import { isCompressed } from '../image/save-format.js';
import { unpackImage } from '../image/unpacked.js';
import { GuestDisks, type ReadableDisk } from '../disks/guest-disks.js';
import type { RecordedDisk } from '../disks/record.js';
import { ParsError } from '../errors.js';
import type { ImageFacts } from '../reader/inspection.js';
import { PackSession } from '../reader/pack-session.js';
import { ImageError, type ReaderOptions } from '../reader/reader.js';
import { PREAMBLE_BYTES } from '../reader/save-header.js';

export interface Look {
  session: PackSession;
  /** As the manifest is to tell it. */
  image: ImageFacts;
}

export interface LookOptions {
  /** The image stays. */
  keepLocal: boolean;
  /** What these disks of the guest's hold may be referenced. */
  compare: readonly RecordedDisk[];
  reader: ReaderOptions;
}

/** What cannot be looked into is stored as it is, but only beside the image, never instead of it. */
export async function lookForOffload(
  file: ImageFile,
  facts: ImageFacts,
  options: LookOptions,
): Promise<Look> {
  try {
    return await lookAndCompare(file, facts, options);
  } catch (error) {
    if (!options.keepLocal || !isBeyondUs(error)) throw error;
  }
  return { session: await PackSession.whole(file.fd, facts, options.reader), image: facts };
}

/** The disks are flushed before they are compared: what is referenced must outlive a power cut. */
async function lookAndCompare(file: ImageFile, facts: ImageFacts, options: LookOptions): Promise<Look> {
  const disks = await GuestDisks.toCompare(options.compare, options.reader.signal);
  try {
    return await look(file, facts, options, disks.list());
  } finally {
    await disks.close(); // the reader has descriptors of its own
  }
}

async function look(
  file: ImageFile,
  facts: ImageFacts,
  { reader }: LookOptions,
  disks: readonly ReadableDisk[],
): Promise<Look> {
  if (isCompressed(facts.format)) return lookUnpacked(file, facts, reader, disks);
  return { session: await PackSession.look(file.fd, reader, disks), image: facts };
}

/** All that is stored of a compressed image is of the raw one it stands for. */
async function lookUnpacked(
  file: ImageFile,
  facts: ImageFacts,
  reader: ReaderOptions,
  disks: readonly ReadableDisk[],
): Promise<Look> {
  const raw = await unpackImage(file, facts, reader);
  try {
    const session = await PackSession.look(raw.fd, reader, disks);
    return {
      session,
      image: { ...facts, rawBytes: (await raw.stat()).size, headEnd: facts.streamOffset + PREAMBLE_BYTES },
    };
  } finally {
    await raw.close(); // the reader has a descriptor of its own
  }
}

/**
 * Damaged, of a kind we do not know, or too large for the room there is: not what passes, and not an internal
 * error.
 */
function isBeyondUs(error: unknown): boolean {
  return (
    error instanceof ImageError
    || (error instanceof ParsError
      && (error.kind === 'refused' || error.kind === 'corrupt' || error.kind === 'no-space'))
  );
}
