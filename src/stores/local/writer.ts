// SPDX-License-Identifier: Apache-2.0
/**
 * Writes an object to several directories at once: temporary names, fsync, length check, rename, fsync of the
 * directories.
 */
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isMissing } from '../../system/absence.js';
import { awaitedElsewhere, bestEffort } from '../../system/best-effort.js';
import type { Native } from '../../native.js';
import { ParsError } from '../../errors.js';
import { temporaryName } from '../../system/temporary-name.js';
import { diskError, type Files, openNew, removeEmptyParents, syncDirectory, syncParents } from './files.js';
import { readMarker } from './marker.js';
import { MARKER_FILE } from '../marker.js';
import type { ObjectWriter, StoredObject } from '../store.js';

/** What a writer may have in memory for its slowest copy before it asks to wait. */
const MAX_PENDING_BYTES = 8 << 20;

/**
 * How much is written before the kernel is told to begin with the disk: fsync at the end finds little left to
 * do.
 */
const WRITEBACK_BYTES = 8 << 20;

const MAX_BUFFERS_A_WRITE = 256;

/** The system calls and digests that the addon has and Node has not. */
export type DiskPrimitives = Pick<Native, 'hashFileUncached' | 'newHash' | 'startWriteback'>;

interface Piece {
  data: Buffer;
  written?: (() => void) | undefined;
}

/**
 * The disk was unmounted after it had been seen: what was begun in its mount point is to be discarded, as
 * after any failure (R22).
 */
class DiskGone extends ParsError {
  constructor(directory: string) {
    super('unreachable', `${directory} has no ${MARKER_FILE} any more: its disk was unmounted just now`, {
      hint: 'mount it, and try again',
    });
  }
}

/** One copy: a file under a temporary name in one directory, renamed when all is on the disk. */
export class CopyWriter {
  readonly root: string;
  readonly path: string;
  readonly temporary: string;
  readonly #files: Files;
  readonly #disk: DiskPrimitives;
  #handle: FileHandle | undefined;
  #queue: Piece[] = [];
  #queuedBytes = 0;
  #writtenBytes = 0;
  #startedBytes = 0;
  #pump: Promise<void> | undefined;
  #batch: Promise<void> = Promise.resolve();
  /** Under a name that was free: of one that takes another's place nothing can be taken back. */
  #published = false;
  #failure: ParsError | undefined;

  constructor(files: Files, disk: DiskPrimitives, root: string, name: string) {
    this.#files = files;
    this.#disk = disk;
    this.root = root;
    this.path = join(root, name);
    this.temporary = join(dirname(this.path), temporaryName(basename(name)));
  }

  async open(): Promise<void> {
    await this.#guard('creating', async () => {
      this.#handle = await openNew(this.#files, this.temporary);
      // Whoever chose this directory looked before: an open file keeps its disk mounted, so now it is
      // certain.
      if ((await readMarker(this.#files, this.root)) === null) throw new DiskGone(this.root);
    });
  }

  /**
   * Takes the buffer and goes on writing by itself; resolves when there is room for more. `written`: this
   * copy does not read the data any more.
   */
  async append(data: Buffer, written?: () => void): Promise<void> {
    this.#queue.push({ data, written });
    this.#queuedBytes += data.length;
    this.#pump ??= this.#drain().finally(() => (this.#pump = undefined));
    awaitedElsewhere(this.#pump);
    while (this.#queuedBytes > MAX_PENDING_BYTES && this.#pump !== undefined) await bestEffort(this.#batch);
    if (this.#failure) throw this.#failure;
  }

  /** All bytes on the disk under the temporary name, and as many as there should be. */
  async settle(bytes: number): Promise<void> {
    await this.#pump;
    if (this.#failure) throw this.#failure;
    await this.#guard('writing', async () => {
      const handle = this.#openHandle();
      await handle.sync();
      const { size } = await handle.stat();
      if (size !== bytes)
        throw new ParsError('corrupt', `${this.temporary} has ${size} bytes after ${bytes} were written`);
      await this.#close();
    });
  }

  /** Visible under its name, durably. */
  async publish(): Promise<void> {
    await this.#guard('renaming', async () => {
      const replaces = await this.#files.stat(this.path).then(
        () => true,
        (error: unknown) => {
          if (isMissing(error)) return false;
          throw error;
        },
      );
      await this.#files.rename(this.temporary, this.path);
      this.#published = !replaces;
    });
    await this.#guard('syncing the directory of', () => syncParents(this.#files, this.root, this.path));
  }

  /** Like publish, but leaves a file alone that has the name already; false if there was one. */
  async publishExclusively(): Promise<boolean> {
    const created = await this.#guard('linking', () => this.#linkNew());
    this.#published = created;
    await bestEffort(this.#files.unlink(this.temporary));
    if (created)
      await this.#guard('syncing the directory of', () => syncParents(this.#files, this.root, this.path));
    return created;
  }

  /**
   * Nothing of it stays: neither the temporary nor, if it was published, the finished file, unless that took
   * another's place.
   */
  async discard(): Promise<void> {
    await bestEffort(this.#pump);
    await bestEffort(this.#close());
    for (const path of this.#published ? [this.temporary, this.path] : [this.temporary])
      await bestEffort(this.#files.unlink(path));
    if (this.#published) await bestEffort(syncDirectory(this.#files, dirname(this.path)));
    await removeEmptyParents(this.#files, this.root, this.path);
  }

  async #linkNew(): Promise<boolean> {
    try {
      await this.#files.link(this.temporary, this.path);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    }
  }

  async #drain(): Promise<void> {
    await this.#guard('writing', async () => {
      while (this.#queue.length > 0) {
        this.#batch = this.#writeBatch(this.#queue.splice(0, MAX_BUFFERS_A_WRITE));
        await this.#batch;
      }
    });
  }

  async #writeBatch(pieces: Piece[]): Promise<void> {
    const batch = pieces.map(({ data }) => data);
    const bytes = batch.reduce((sum, buffer) => sum + buffer.length, 0);
    const handle = this.#openHandle();
    const { bytesWritten } = await handle.writev(batch, this.#writtenBytes);
    if (bytesWritten < bytes) await this.#writeRest(Buffer.concat(batch), bytesWritten);
    for (const { written } of pieces) written?.();
    this.#writtenBytes += bytes;
    this.#queuedBytes -= bytes;
    this.#startWriteback(handle);
  }

  /** A short write is how a full disk begins: the next one says so. */
  async #writeRest(data: Buffer, from: number): Promise<void> {
    for (let done = from; done < data.length;) {
      const { bytesWritten } = await this.#openHandle().write(
        data,
        done,
        data.length - done,
        this.#writtenBytes + done,
      );
      if (bytesWritten === 0) throw new ParsError('unreachable', `${this.temporary} takes no more bytes`);
      done += bytesWritten;
    }
  }

  #startWriteback(handle: FileHandle): void {
    const bytes = this.#writtenBytes - this.#startedBytes;
    if (bytes < WRITEBACK_BYTES) return;
    this.#disk.startWriteback(handle.fd, this.#startedBytes, bytes);
    this.#startedBytes = this.#writtenBytes;
  }

  #openHandle(): FileHandle {
    if (!this.#handle) throw new ParsError('internal', `${this.path} is not open`);
    return this.#handle;
  }

  async #close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }

  async #guard<T>(doing: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.#failure ??= diskError(error, `${doing} ${this.path}`);
      throw this.#failure;
    }
  }
}

/**
 * An object on its way into k directories. Fails as a whole: after any error nothing of it is left; of one
 * that replaces another some copies may be new.
 */
export class LocalWriter implements ObjectWriter {
  readonly #name: string;
  readonly #copies: CopyWriter[];
  readonly #hash: ReturnType<Native['newHash']>;
  #bytes = 0;
  #state: 'open' | 'closed' | 'aborted' = 'open';

  private constructor(name: string, copies: CopyWriter[], hash: ReturnType<Native['newHash']>) {
    this.#name = name;
    this.#copies = copies;
    this.#hash = hash;
  }

  static async open(
    files: Files,
    disk: DiskPrimitives,
    roots: readonly string[],
    name: string,
  ): Promise<LocalWriter> {
    const writer = new LocalWriter(
      name,
      roots.map((root) => new CopyWriter(files, disk, root, name)),
      disk.newHash(),
    );
    await writer.#all((copy) => copy.open());
    return writer;
  }

  async write(data: Buffer, written?: () => void): Promise<void> {
    this.#expectOpen();
    if (data.length === 0) return written?.();
    this.#hash.update(data);
    this.#bytes += data.length;
    let reading = this.#copies.length;
    const copied = (): void => {
      if (--reading === 0) written?.();
    };
    await this.#all((copy) => copy.append(data, copied));
  }

  async close(): Promise<StoredObject> {
    this.#expectOpen();
    await this.#all((copy) => copy.settle(this.#bytes));
    await this.#all((copy) => copy.publish());
    this.#state = 'closed';
    return { name: this.#name, bytes: this.#bytes, xxh3: this.#hash.digest(), copies: this.#copies.length };
  }

  async abort(): Promise<void> {
    if (this.#state === 'closed' || this.#state === 'aborted') return;
    this.#state = 'aborted';
    await Promise.all(this.#copies.map((copy) => copy.discard()));
  }

  /** Waits for every copy before it cleans up, so that nobody creates what was just removed. */
  async #all(step: (copy: CopyWriter) => Promise<void>): Promise<void> {
    const results = await Promise.allSettled(this.#copies.map(step));
    const failed = results.find((result) => result.status === 'rejected');
    if (!failed) return;
    await this.abort();
    throw failed.reason;
  }

  #expectOpen(): void {
    if (this.#state !== 'open')
      throw new ParsError('internal', `${this.#name} is ${this.#state} and takes no more bytes`);
  }
}
