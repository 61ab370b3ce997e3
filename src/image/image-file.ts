// SPDX-License-Identifier: Apache-2.0
/**
 * A save image on the disk, opened once and never by path again (R15). All that is done to it is done through
 * this descriptor and those derived from it by /proc, so a file that is renamed over or unlinked meanwhile is
 * never touched by mistake.
 */
import { createHash } from 'node:crypto';
import { constants, type BigIntStats } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { ParsError } from '../errors.js';
import { native } from '../native.js';
import { isMissing } from '../system/absence.js';

/** What must stay equal for a file to be the same, unchanged file. */
export interface ImageIdentity {
  dev: bigint;
  ino: bigint;
  bytes: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
  nlink: bigint;
}

const CHUNK = 1 << 20;

/** The file and its last write; of another save, or another file at the same path, it differs. */
export function fileVersion({ ino, mtimeNs }: { ino: bigint; mtimeNs: bigint }): string {
  return `${ino}:${mtimeNs}`;
}

export class ImageFile {
  readonly path: string;
  readonly #reading: FileHandle;
  readonly #durable: boolean;
  #writing: FileHandle | undefined;
  #open = true;

  private constructor(path: string, handle: FileHandle, durable: boolean) {
    this.path = path;
    this.#reading = handle;
    this.#durable = durable;
  }

  /**
   * Opens a file by its path, once. Symbolic links, anything but regular files, and files with several names
   * are refused. `durable`: each write is on the disk when it returns, without the rest of the file having to
   * go there too.
   */
  static async open(path: string, { durable = false } = {}): Promise<ImageFile> {
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
      (error: unknown) => {
        throw openError(path, error);
      },
    );
    return checkedFile(new ImageFile(path, handle, durable), handle, 1n);
  }

  /**
   * Opens the file behind another process's descriptor, as the hook must: the path may mean something else by
   * now.
   */
  static async openDescriptor(pid: number, fd: number, path: string): Promise<ImageFile> {
    const handle = await open(`/proc/${pid}/fd/${fd}`, constants.O_RDONLY | constants.O_NONBLOCK).catch(
      (error: unknown) => {
        throw openError(path, error);
      },
    );
    return checkedFile(new ImageFile(path, handle, false), handle, null);
  }

  /** The read-only descriptor, for the reader. */
  get fd(): number {
    return this.#reading.fd;
  }

  /** The writable descriptor of the same inode; opened on first use. */
  async writable(): Promise<number> {
    const flags = constants.O_RDWR | (this.#durable ? constants.O_DSYNC : 0);
    this.#writing ??= await open(`/proc/self/fd/${this.#reading.fd}`, flags).catch((error: unknown) => {
      throw openError(this.path, error);
    });
    return this.#writing.fd;
  }

  /**
   * Lets go of the read-only descriptor and goes on with the writable one: a write lease is granted only
   * while the file is open exactly once.
   */
  async keepOnlyWritable(): Promise<number> {
    const fd = await this.writable();
    await this.#closeReading();
    return fd;
  }

  /** What the file is right now. */
  async identity(): Promise<ImageIdentity> {
    const stats = await this.#handle().stat({ bigint: true });
    return {
      dev: stats.dev,
      ino: stats.ino,
      bytes: stats.size,
      mtimeNs: stats.mtimeNs,
      ctimeNs: stats.ctimeNs,
      nlink: stats.nlink,
    };
  }

  /** What tells this very file, as it was last written, from every other. */
  async version(): Promise<string> {
    return fileVersion(await this.identity());
  }

  /** Bytes the file takes on the disk. */
  async allocatedBytes(): Promise<number> {
    return Number((await this.#handle().stat({ bigint: true })).blocks) * 512;
  }

  /** Up to `bytes` bytes from `offset`; fewer only at the end of the file. */
  async read(offset: number, bytes: number): Promise<Buffer> {
    const buffer = Buffer.alloc(bytes);
    let filled = 0;
    while (filled < bytes) {
      const { bytesRead } = await this.#handle().read(buffer, filled, bytes - filled, offset + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  }

  /** SHA-256 of [from, to), hex. */
  async digest(from: number, to: number): Promise<string> {
    const hash = createHash('sha256');
    for (let at = from; at < to;) {
      const piece = await this.read(at, Math.min(CHUNK, to - at));
      if (piece.length === 0) break;
      hash.update(piece);
      at += piece.length;
    }
    return hash.digest('hex');
  }

  /** Writes all of `data` at `offset`. Only after writable(). */
  async write(data: Buffer, offset: number): Promise<void> {
    for (let done = 0; done < data.length;) {
      const { bytesWritten } = await this.#writer().write(data, done, data.length - done, offset + done);
      done += bytesWritten;
    }
  }

  async truncate(bytes: number): Promise<void> {
    await this.#writer().truncate(bytes);
  }

  async sync(): Promise<void> {
    await this.#writer().sync();
  }

  /** Takes the exclusive lock on the writable descriptor; throws 'busy' when somebody works on the image. */
  async lock(): Promise<void> {
    if (!this.#tryLock(await this.writable())) {
      throw new ParsError('busy', `${this.path} is being offloaded or hydrated by another pars process`, {
        hint: 'see: pars status',
      });
    }
  }

  #tryLock(fd: number): boolean {
    try {
      return native().tryLock(fd);
    } catch (cause) {
      const why = (cause as Error).message;
      throw new ParsError('refused', `the file system of ${this.path} does not lock files: ${why}`, {
        hint: 'keep saves on a disk of this host',
        cause,
      });
    }
  }

  /** Closes every descriptor, and with them lock and lease. Safe twice. */
  async close(): Promise<void> {
    await this.#closeReading();
    const writing = this.#writing;
    this.#writing = undefined;
    await writing?.close();
  }

  async #closeReading(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#reading.close();
  }

  #handle(): FileHandle {
    return this.#open ? this.#reading : this.#writer();
  }

  #writer(): FileHandle {
    if (this.#writing === undefined) throw new Error(`${this.path} is not open for writing`);
    return this.#writing;
  }
}

/** The names of what differs between two looks at a file; empty when it is unchanged. */
export function changesBetween(before: ImageIdentity, after: ImageIdentity): string[] {
  const names: Record<keyof ImageIdentity, string> = {
    dev: 'device',
    ino: 'inode',
    bytes: 'length',
    mtimeNs: 'modification time',
    ctimeNs: 'change time',
    nlink: 'link count',
  };
  return (Object.keys(names) as (keyof ImageIdentity)[])
    .filter((key) => before[key] !== after[key])
    .map((key) => names[key]);
}

async function checkedFile(file: ImageFile, handle: FileHandle, links: bigint | null): Promise<ImageFile> {
  const problem = problemOf(file.path, await handle.stat({ bigint: true }), links);
  if (problem === null) return file;
  await file.close();
  throw problem;
}

function problemOf(path: string, stats: BigIntStats, links: bigint | null): ParsError | null {
  const hint = 'give the path of the save image itself';
  if (!stats.isFile()) return new ParsError('usage', `${path} is not a regular file`, { hint });
  if (links !== null && stats.nlink !== links)
    return new ParsError('refused', `${path} has ${stats.nlink} names (hard links)`, {
      hint: 'whatever is done to it is done to all of them: keep one (find them with find -samefile)',
    });
  return null;
}

/** Why a save image could not be opened. */
export function openError(path: string, cause: unknown): ParsError {
  const code = (cause as NodeJS.ErrnoException).code;
  if (isMissing(cause)) return new ParsError('missing', `there is no ${path}`, { cause });
  if (code === 'ELOOP')
    return new ParsError('refused', `${path} is a symbolic link`, {
      hint: 'give the path of the save image itself',
      cause,
    });
  if (code === 'EACCES' || code === 'EPERM')
    return new ParsError('refused', `${path} may not be opened by this user`, {
      hint: 'run pars as root',
      cause,
    });
  if (code === 'EWOULDBLOCK' || code === 'EAGAIN')
    return new ParsError('busy', `${path} is being turned into a stub right now`, {
      hint: 'try again in a few seconds',
      cause,
    });
  return new ParsError('internal', `cannot open ${path}: ${(cause as Error).message}`, { cause });
}
