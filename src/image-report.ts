/** Opens an image, has it read, and turns what cannot be reported on into an error that says what to do. */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { ParsError } from './errors.js';
import { probeImage, type ReaderOptions, reportImage } from './reader.js';
import type { ReportFacts } from './report.js';

/** Looks inside the image at `path`. Reads only. */
export async function lookInside(path: string, options: ReaderOptions = {}): Promise<ReportFacts> {
  const handle = await openImage(path);
  try {
    return { path, ...(await reportImage(handle.fd, options)) };
  } catch (error) {
    throw (await stubError(handle, path, options)) ?? error;
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
    throw openError(cause as NodeJS.ErrnoException, path);
  }
  throw new ParsError('usage', `${path} is not a regular file`);
}

function openError(cause: NodeJS.ErrnoException, path: string): ParsError {
  if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') return new ParsError('missing', `there is no file ${path}`, { cause });
  if (cause.code === 'EAGAIN') return new ParsError('busy', `${path} is being offloaded right now`, { hint: 'try again in a moment', cause });
  return new ParsError('refused', `cannot open ${path}: ${cause.message}`, { hint: 'save images are readable for root only', cause });
}

/** Asked only when the look inside failed: a stub fails it by design. */
async function stubError(handle: FileHandle, path: string, options: ReaderOptions): Promise<ParsError | null> {
  const image = await probeImage(handle.fd, options).catch(() => null);
  if (!image?.stubRecord) return null;
  return new ParsError('refused', `${path} is a stub: its pages are in the store`, { hint: `see: pars show ${image.domain.uuid}` });
}
