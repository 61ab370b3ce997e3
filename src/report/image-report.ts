// SPDX-License-Identifier: Apache-2.0
/** Opens an image, has it read, and turns what cannot be reported on into an error that says what to do. */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { recordDisks, uncomparedIn } from '../disks/record.js';
import { GuestDisks } from '../disks/guest-disks.js';
import { ParsError } from '../errors.js';
import { explainImage, type Explanation, mapImage } from '../reader/page-map.js';
import { probeImage, type ReaderOptions, reportImage } from '../reader/reader.js';
import type { ImageFacts } from '../reader/inspection.js';
import { openError } from '../image/image-file.js';
import { isCompressed } from '../image/save-format.js';
import { unpackImage } from '../image/unpacked.js';
import { decodeStub } from '../image/stub.js';
import type { ReportFacts } from './report.js';

/** Looks inside the image at `path`, with `withMap` the page map and the files too. Reads only. */
export async function lookInside(
  path: string,
  options: ReaderOptions & { withMap?: boolean; disks?: boolean } = {},
): Promise<ReportFacts> {
  return withImage(path, options, async (fd, file) => {
    const compared = await disksToCompare(fd, file, options);
    const look = options.withMap ? mapImage : reportImage;
    const { references, ...looked } = await look(fd, options, compared?.list()).finally(() =>
      compared?.close(),
    );
    const disks = await recordDisks(looked.image.domain.disks, { askLibvirt: true, signal: options.signal });
    return {
      path,
      ...looked,
      ...(references && { onDisks: references.equal }),
      uncomparedDisks: uncomparedIn(disks),
      image: file === null ? looked.image : { ...file, rawBytes: looked.image.bytes },
    };
  });
}

/** Those an offload would leave pages to; null when it would not, or nobody asks. */
async function disksToCompare(
  fd: number,
  file: ImageFacts | null,
  options: ReaderOptions & { disks?: boolean },
): Promise<GuestDisks | null> {
  if (!options.disks) return null;
  const { domain, format, stubRecord } = file ?? (await probeImage(fd, options));
  const isToBeRead = stubRecord === null && (file !== null || !isCompressed(format));
  if (!isToBeRead || !domain.diskReferences || domain.acceptChangedDisks) return null;
  const disks = await recordDisks(domain.disks, { askLibvirt: true, signal: options.signal });
  return GuestDisks.toLookAt(disks, options.signal);
}

/**
 * Why pages of the image at `path` are of their class. Only the image itself can say: the store keeps no
 * page's fields.
 */
export async function explainPages(
  path: string,
  first: number,
  pages: number,
  options: ReaderOptions = {},
): Promise<Explanation> {
  try {
    return await withImage(path, options, (fd) => explainImage(fd, first, pages, options));
  } catch (error) {
    if (!(error instanceof StubFound)) throw error;
    throw new ParsError('refused', error.message, {
      hint:
        `write its image to a file and explain that: pars restore ${error.snapshot ?? 'SNAPSHOT'} `
        + `--to FILE`,
      cause: error,
    });
  }
}

/**
 * `look` gets a raw or sparse image, and of a compressed one what its file says of itself. Most are not
 * compressed, and tried as they are: only when that fails is the file asked what it is.
 */
async function withImage<T>(
  path: string,
  options: ReaderOptions,
  look: (fd: number, compressed: ImageFacts | null) => Promise<T>,
): Promise<T> {
  const handle = await openImage(path);
  try {
    return await look(handle.fd, null);
  } catch (error) {
    const facts = await probeImage(handle.fd, options).catch((second: unknown) => {
      if (second instanceof ParsError) return null;
      throw second;
    });
    if (facts?.stubRecord) throw stubFound(path, facts, facts.stubRecord);
    if (facts === null || !isCompressed(facts.format)) throw error;
    const raw = await unpackImage({ fd: handle.fd, path }, facts, options);
    return await look(raw.fd, facts).finally(() => raw.close());
  } finally {
    await handle.close();
  }
}

/** O_NONBLOCK: neither a FIFO nor somebody's lease makes us wait. */
async function openImage(path: string): Promise<FileHandle> {
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
  } catch (cause) {
    throw openError(path, cause);
  }
  throw new ParsError('usage', `${path} is not a regular file`, {
    hint: 'give the path of the save image itself',
  });
}

/** There is nothing to look into; what was there is in the store. */
export class StubFound extends ParsError {
  /** Null when its record is damaged. */
  readonly snapshot: string | null;

  constructor(path: string, uuid: string, snapshot: string | null) {
    super('refused', `${path} is a stub: its pages are in the store`, {
      hint: `name the store with --store, or see: pars show ${uuid}`,
    });
    this.snapshot = snapshot;
  }
}

/** A stub fails a look inside by design. */
function stubFound(path: string, { domain, headEnd }: ImageFacts, record: Buffer): StubFound {
  return new StubFound(path, domain.uuid, decodeStub(record, headEnd)?.snapshot ?? null);
}
