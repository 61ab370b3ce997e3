// SPDX-License-Identifier: Apache-2.0
/**
 * Where snapshots live. A store keeps named objects in a number of copies, proves what it holds, and finds a
 * good copy on every read. Names are relative paths of [A-Za-z0-9._-] segments. One contract suite
 * (test/contract) runs against every store.
 */

/** Of what `readWhole` gives back: manifests and states. 16 MiB list the packs of 6 TiB. */
export const MAX_WHOLE_BYTES = 16 << 20;
/** UUID/TIME-RANDOM/object: a store is no deeper. */
export const MAX_DEPTH = 8;

/** What a finished object is known by. */
export interface StoredObject {
  name: string;
  bytes: number;
  /** XXH3-128 of the object, hex: what `verify` compares with the disk. */
  xxh3: string;
  /** 1 when it is coded. */
  copies: number;
  /** Erasure coding, by the store's name for it. */
  coding?: string | undefined;
}

/** How an object is to be kept. */
export interface ObjectTerms {
  copies: number;
  critical: boolean;
  /**
   * Erasure coding in place of copies, by the store's name for it; `copies` is 1 then. Only after
   * `refuseCoding` had nothing against it.
   */
  coding?: string | undefined;
}

/** One copy that is not as it should be. */
export interface CopyFault {
  /** Where: a directory, a DataNode, a block. */
  place: string;
  /** 'unreachable' was not seen: it may yet be good. */
  fault: 'missing' | 'corrupt' | 'unreachable';
  detail: string;
}

/**
 * Where the copies (or coded pieces) of an object really lie that are there: of its worst part, since what
 * lies together is lost together. Null: the store does not tell.
 */
export interface Placement {
  copies: number;
  disks: number | null;
  hosts: number | null;
  racks: number | null;
}

/** What a look at one object found. */
export interface ObjectHealth {
  /** Copies found good, and how many there should be. */
  good: number;
  wanted: number;
  faults: CopyFault[];
  /** Absent when there is nothing that could lie anywhere. */
  placement?: Placement;
}

/** A part of an object that is unavailable, and why. */
export interface Stretch {
  name: string;
  offset: number;
  bytes: number;
  why: string;
}

export interface ObjectWriter {
  /**
   * Appends; resolves when the store is ready for more (back-pressure). The buffer belongs to the store from
   * then on: it may still be written later, and `written` is called when it no longer is. Writes are not made
   * at the same time. After any error nothing of the object is left.
   */
  write(data: Buffer, written?: () => void): Promise<void>;
  /**
   * Makes every copy durable (fsync, rename from a temporary name, fsync of the directory) and visible, in
   * place of an object of that name.
   */
  close(): Promise<StoredObject>;
  /** Removes what was written. Safe twice, safe after close fails. */
  abort(): Promise<void>;
}

export interface StoreStatus {
  url: string;
  storeId: string;
  /** Places (directories, DataNodes) that can hold a copy now, and how many there should be. */
  usablePlaces: number;
  places: number;
  /** Room for what is written, all copies counted, under every quota; null when the store does not say. */
  freeBytes: number | null;
  /** What is good to know, of a store that says so: how it protects what it holds. */
  facts?: string[];
  warnings: string[];
}

export interface StoreOptions {
  signal?: AbortSignal;
  /**
   * For a guest that is to resume: a disk that cannot list what it holds counts as one that is away, and the
   * others do. For all else that is an error, since what is not listed may be there.
   */
  toResume?: boolean;
}

export interface Store {
  readonly url: string;
  /**
   * So many copies `createExclusive` makes, or as many as it is asked for if that is more. Absent: one in
   * every place that is usable.
   */
  readonly stateCopies?: number;
  /**
   * Checks markers and reachability. Throws 'unreachable' (with the command that would help) when fewer than
   * one place is usable.
   */
  status(): Promise<StoreStatus>;
  /**
   * `critical` objects are made as durable as the store can. Fewer usable places than copies: 'unreachable'.
   */
  create(name: string, options: ObjectTerms): Promise<ObjectWriter>;
  /**
   * Creates a small object whole, only if it does not exist; false if it did. The exclusive step of every
   * claim.
   */
  createExclusive(name: string, data: Buffer, options: { copies: number }): Promise<boolean>;
  /**
   * Proof that every copy holds every byte, read back from the disk (R20). Throws 'corrupt', 'missing' or
   * 'unreachable', naming the copy.
   */
  verify(object: StoredObject): Promise<void>;
  /**
   * A range of an object whose SHA-256 is `sha256` (hex). Falls over from copy to copy. Throws, naming each
   * copy: 'unreachable' if one may yet be had, else 'corrupt' if there was one, else 'missing'.
   */
  readRange(name: string, offset: number, bytes: number, sha256: string): Promise<Buffer>;
  /**
   * A whole small object (manifest, state), no digest known; at most 16 MiB. Of the contents that `accept`
   * takes, the one that `rank` puts highest, then the one with most copies.
   */
  readWhole(
    name: string,
    accept: (data: Buffer) => boolean,
    rank?: (data: Buffer) => number,
  ): Promise<Buffer>;
  /**
   * Looks at every copy of an object; with `read` at every byte of it, else at its length. Finding nothing
   * good is an answer, not an error.
   */
  inspect(object: StoredObject, options: { read: boolean }): Promise<ObjectHealth>;
  /**
   * Brings an object back to as many good copies as it should have, from one that is good. A store that makes
   * copies by itself is waited for, so long at most. Throws, saying how many there are, when there are fewer
   * in the end.
   */
  replicate(object: StoredObject, options: { waitMs: number }): Promise<void>;
  /**
   * Names of objects and prefixes directly below `prefix` ('' for the top), sorted, union over all places.
   */
  list(prefix: string): Promise<string[]>;
  /**
   * Removes an object, or everything below a prefix; missing is fine. Throws 'unreachable' after it has
   * removed what it could, when a place that may hold a copy is not there: the object comes back with that
   * place.
   */
  remove(nameOrPrefix: string): Promise<void>;
  /**
   * Throws, saying what is missing, when objects cannot be coded so here and now. A store without it knows no
   * coding.
   */
  refuseCoding?(coding: string): Promise<void>;
  /**
   * Stretches of objects that are unavailable now, asked before anything is read: nothing is read twice for
   * it. A store without it finds out by reading.
   */
  unavailable?(names: readonly string[]): Promise<Stretch[]>;
  /** What was noticed while objects were written, for people. */
  notes?(): string[];
  /**
   * Milliseconds since an object was finished, by the store's own clock (R28). 'missing' when it is not
   * there. A store without it is not pruned.
   */
  age?(name: string): Promise<number>;
  /**
   * Removes what writers that were killed left under temporary names and is older than that; returns how
   * many. With `dryRun` it only counts.
   */
  sweep?(options: { olderThanMs: number; dryRun: boolean }): Promise<number>;
  close(): Promise<void>;
}
