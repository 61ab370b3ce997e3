// SPDX-License-Identifier: Apache-2.0
/**
 * The packs of a snapshot that is being written: one open pack for each class and one for the skeleton. A
 * full pack is closed and proved (R20) in the background while the next is written.
 */
import { createHash } from 'node:crypto';
import { ParsError } from '../errors.js';
import { packName, noDigest, type IndexFrame } from './index-table.js';
import { FRAME_FILL, FRAME_SKELETON, PAGE_CLASSES } from '../page-classes.js';
import type { ObjectWriter, StoredObject } from '../stores/store.js';

/** A pack is closed when it passes this: proving does not wait for the end. */
export const PACK_BYTES = 64 << 20;
/**
 * Of what may be lost the first packs are short, so that single copies are spread over the store however
 * little there is; so many of a length.
 */
const SHORT_PACK_BYTES = 4 << 20;
const PACKS_OF_A_LENGTH = 4;
const MAX_PACKS = 0xffff;
/** Packs that may be closing or being proved at one time. */
const MAX_IN_BACKGROUND = 3;

/** What the set needs of the store. */
export interface PackStore {
  create(pack: string, copies: number, critical: boolean): Promise<ObjectWriter>;
  verify(object: StoredObject): Promise<void>;
}

/** A frame as the reader sent it. */
export interface NewFrame {
  kind: number;
  pages: number;
  rawBytes: number;
  /** Empty when the class is not stored. */
  data: Buffer;
  /** Called when nobody reads `data` any more. */
  release?(): void;
}

/** A finished pack. */
export interface FinishedPack {
  /** "anon.0" */
  pack: string;
  kind: number;
  object: StoredObject;
}

export interface PackSetOptions {
  /** Copies of a frame kind's packs. */
  copiesOf(kind: number): number;
  isCritical(kind: number): boolean;
  onPackClosed?: (pack: string) => void;
  packBytes?: number;
}

interface OpenPack {
  name: string;
  number: number;
  writer: ObjectWriter;
  bytes: number;
}

export class PackSet {
  readonly #store: PackStore;
  readonly #options: PackSetOptions;
  readonly #open = new Map<number, OpenPack>();
  readonly #next = new Map<number, number>();
  readonly #background = new Set<Promise<void>>();
  readonly #finished: FinishedPack[] = [];
  #failure: { error: unknown } | undefined;

  constructor(store: PackStore, options: PackSetOptions) {
    this.#store = store;
    this.#options = options;
  }

  /**
   * Appends a frame to the pack of its kind; resolves when the store is ready for more, with the frame's
   * place in the index.
   */
  async add(frame: NewFrame): Promise<IndexFrame> {
    const { kind, pages, rawBytes, data } = frame;
    const written = (): void => frame.release?.();
    if (data.length === 0) {
      written();
      return { kind, pack: 0, rawBytes, offset: 0, bytes: 0, pages, sha256: noDigest() };
    }
    this.#throwIfFailed();
    const key = kind < FRAME_FILL ? kind : FRAME_SKELETON;
    const pack = this.#open.get(key) ?? (await this.#begin(key));
    const offset = pack.bytes;
    pack.bytes += data.length;
    const digest = sha256(data);
    await pack.writer.write(data, written);
    if (pack.bytes >= this.#fullAt(key, pack)) await this.#roll(key, pack);
    return { kind, pack: pack.number, rawBytes, offset, bytes: data.length, pages, sha256: digest };
  }

  /** Closes and proves what is still open; resolves when every pack is durable and proved. */
  async finish(): Promise<FinishedPack[]> {
    for (const [key, pack] of [...this.#open]) await this.#roll(key, pack);
    await Promise.all(this.#background);
    this.#throwIfFailed();
    return this.#finished.sort(
      (a, b) => a.kind - b.kind || a.pack.localeCompare(b.pack, 'en', { numeric: true }),
    );
  }

  /**
   * Drops what is open and waits for what is closing. Finished packs are removed with their snapshot. Safe
   * twice.
   */
  async abort(): Promise<void> {
    const open = [...this.#open.values()];
    this.#open.clear();
    await Promise.allSettled(open.map((pack) => pack.writer.abort()));
    await Promise.allSettled(this.#background);
  }

  async #begin(key: number): Promise<OpenPack> {
    const number = this.#next.get(key) ?? 0;
    if (number > MAX_PACKS)
      throw new ParsError(
        'refused',
        `the image needs more than ${MAX_PACKS} packs of ${PAGE_CLASSES[key] ?? 'skeleton'} data`,
      );
    this.#next.set(key, number + 1);
    const name = packName(key, number);
    const writer = await this.#store.create(name, this.#options.copiesOf(key), this.#options.isCritical(key));
    const pack = { name, number, writer, bytes: 0 };
    this.#open.set(key, pack);
    return pack;
  }

  #fullAt(key: number, { number }: OpenPack): number {
    const most = this.#options.packBytes ?? PACK_BYTES;
    return this.#options.isCritical(key)
      ? most
      : Math.min(most, SHORT_PACK_BYTES * 2 ** Math.floor(number / PACKS_OF_A_LENGTH));
  }

  async #roll(key: number, pack: OpenPack): Promise<void> {
    while (this.#background.size >= MAX_IN_BACKGROUND) await Promise.race(this.#background);
    this.#throwIfFailed();
    this.#open.delete(key);
    const work: Promise<void> = this.#closeAndProve(key, pack).catch((error: unknown) => {
      this.#failure ??= { error };
    });
    this.#background.add(work);
    void work.finally(() => this.#background.delete(work));
  }

  async #closeAndProve(kind: number, pack: OpenPack): Promise<void> {
    const object = await pack.writer.close();
    if (object.bytes !== pack.bytes)
      throw new ParsError(
        'corrupt',
        `the store has ${object.bytes} bytes of ${pack.name}, ${pack.bytes} were written`,
      );
    await this.#store.verify(object);
    this.#finished.push({ pack: pack.name, kind, object });
    this.#options.onPackClosed?.(pack.name);
  }

  #throwIfFailed(): void {
    if (this.#failure) throw this.#failure.error;
  }
}

function sha256(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}
