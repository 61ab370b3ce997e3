// SPDX-License-Identifier: Apache-2.0
/**
 * The only place that loads the addon, with its whole typed surface.
 * The addon codes and decodes frames, rebuilds stripes, and makes the system calls that Node has no name for.
 * It never reads an image: that is the reader's work, in its jail (src/reader/reader.ts).
 */
import { createRequire } from 'node:module';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { PACKAGE_ROOT } from './version.js';

/** One frame of a stripe as restore has it: compressed bytes, or why there are none. */
export interface StripeFrame {
  /** Frame kind: 0..11 a page class, 12 fill, 13 skeleton, 15 pages from a disk. */
  kind: number;
  /** Compressed bytes (of kind 15 the pages as they are); null when the frame is lost. */
  data: Buffer | null;
  /** Bytes when decompressed, from the index. */
  rawBytes: number;
  /**
   * For lost frames: 'packed' turns the records into zero records, 'in-place' keeps them with zero payloads.
   */
  lost: 'packed' | 'in-place' | null;
}

/** References whose bytes are not on their disk any more. */
export interface LostReference {
  /** Number of the disk in the manifest. */
  disk: number;
  /** In bytes. */
  offset: number;
  pages: number;
  /** Number of their page class. */
  pageClass: number;
  /** The disk did not answer, or ends before; else what it holds is something else. */
  unreadable: boolean;
}

/** A stripe as the reader lays it out: its tables as docs/format.md has them, and none of its bytes. */
export interface StripeLayout {
  imageOffset: number;
  imageBytes: number;
  /** Null: a hole of a sparse image. */
  runs: Buffer | null;
  /** To the guest's disks; without digests. */
  references: Buffer | null;
  recovery: Buffer | null;
  diskRecovery: Buffer | null;
}

/** What the addon offers. */
export interface Native {
  /**
   * Rebuilds one stripe. `writes`: the recovery writes that fall into it, 10 bytes each as in a recovery
   * frame, offsets in the original image. `into`: memory for it, of which the answer is a view; not to be
   * touched until then. Without it the answer has memory of its own.
   */
  assembleStripe(stripe: {
    imageOffset: number;
    imageBytes: number;
    frames: StripeFrame[];
    writes: Buffer;
    into?: Buffer;
  }): Promise<Buffer>;
  /**
   * Copies a stripe out of the image `fd` into frames, as its tables say (docs/format.md, "The reader's
   * protocol"), and packs them one behind the other into `into`, which is not to be touched until then:
   * skeleton first, `bytes` of each, none for a page class that is not `wanted`. Pages must stand where pages
   * can; references get the digests of the image's own pages; recoveries may write within `writable` only;
   * what is critical is unpacked again and compared. `runs` null: a hole, of zero pages. Throws with the code
   * 'corrupt' when the image has no such stripe. `blocks`: of a sparse image.
   */
  packStripe(
    order: StripeLayout & {
      fd: number;
      wanted: readonly number[];
      level: number;
      blocks: readonly { bitmapOffset: number; pagesOffset: number; bytes: number }[];
      writable: readonly [from: number, until: number];
      into: Buffer;
    },
  ): Promise<{ kind: number; pages: number; rawBytes: number; bytes: number }[]>;
  /** Decompresses one frame of known size. */
  decompress(data: Buffer, rawBytes: number): Promise<Buffer>;
  /** Compresses one frame (content size recorded). */
  compress(data: Buffer, level: number): Promise<Buffer>;

  /**
   * Reads the pages that a decompressed table of references stands for. `disks`: by their numbers, null for
   * one that is not there; a `map` is as in docs/format.md, "The reader's protocol", and stays as it is
   * meanwhile. What is lost is zeros in `data`.
   */
  readReferences(
    table: Buffer,
    pages: number,
    disks: readonly ({ fds: readonly number[]; map: Buffer | null } | null)[],
  ): Promise<{ data: Buffer; lost: LostReference[] }>;

  /**
   * Reads a whole file from the disk, past the page cache where the file system allows it; 128-bit XXH3 in
   * hex, and its length.
   */
  hashFileUncached(fd: number): Promise<{ xxh3: string; bytes: number }>;
  /** A running XXH3-128 over what a writer has written. */
  newHash(): { update(data: Buffer): void; digest(): string };
  /**
   * CRC32Cs of a stream's successive 512 bytes, four big-endian bytes each: `update` answers those of the
   * chunks that its data ends, `end` that of a short one.
   */
  newChunkSums(): { update(data: Buffer): Buffer; end(): Buffer };

  /**
   * fcntl(F_SETLEASE, F_WRLCK). False when another process has the file open. SIGIO is ignored in this
   * process from then on.
   */
  takeWriteLease(fd: number): boolean;
  /** True while the lease is held and nobody has asked for it back. */
  leaseHeld(fd: number): boolean;
  releaseLease(fd: number): void;
  /** flock(LOCK_EX | LOCK_NB). False when another process holds it. */
  tryLock(fd: number): boolean;
  unlock(fd: number): void;
  /** fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE). */
  punchHole(fd: number, offset: number, bytes: number): Promise<void>;
  /** fallocate(0): room for [offset, offset + bytes), file size kept; ENOSPC before anything is written. */
  reserve(fd: number, offset: number, bytes: number): Promise<void>;
  /** sync_file_range(SYNC_FILE_RANGE_WRITE): starts writing back, waits for nothing. */
  startWriteback(fd: number, offset: number, bytes: number): void;
  /** A blocking pipe; the write end is handed to a child, the read end is read with readFully. */
  pipe(): { readFd: number; writeFd: number };
  /**
   * Fills `into` from a pipe and answers how many bytes it has; fewer only at the pipe's end. `into` is not
   * to be touched until then.
   */
  readFully(fd: number, into: Buffer): Promise<number>;
}

/** Where the native build leaves what it makes. */
export function builtBinary(name: string): string {
  return join(PACKAGE_ROOT, 'build/Release', name);
}

function load(): Native {
  const require = createRequire(import.meta.url);
  const path = builtBinary('pars.node');
  if (statSync(path, { throwIfNoEntry: false })) return require(path) as Native;
  throw new Error('the native addon is not built: run "npm run build" in the directory of pars');
}

let loaded: Native | undefined;

/** The addon, loaded on first use so that commands that do not need it start fast. */
export function native(): Native {
  return (loaded ??= load());
}
