// SPDX-License-Identifier: Apache-2.0
/**
 * Writes an object to HDFS: under a temporary name, checked, renamed. What fits into one small block is kept
 * until the end, for only then is it known to be small; everything else goes out as it comes, with a bounded
 * amount waiting.
 */
import { bestEffort } from '../../system/best-effort.js';
import type { Native } from '../../native.js';
import { ParsError } from '../../errors.js';
import { FILE_MODE, type HdfsFiles } from './files.js';
import { beginUpload, type HdfsUpload, type Receivers, SMALL_BYTES, type UploadTerms } from './upload.js';
import type { ObjectTerms, ObjectWriter, StoredObject } from '../store.js';

/** What may wait for the network before the caller is asked to. */
const MAX_PENDING_BYTES = 4 << 20;

export interface WriterHooks {
  newHash: Native['newHash'];
  /**
   * Reads a file back whose checksum the cluster does not tell in our terms. Throws when it is not what was
   * sent.
   */
  readBack(path: string, object: StoredObject): Promise<void>;
  /** The object is there now, checked. */
  published(object: StoredObject): Promise<void>;
}

export class HdfsWriter implements ObjectWriter {
  readonly #files: HdfsFiles;
  readonly #hooks: WriterHooks;
  readonly #name: string;
  readonly #path: string;
  readonly #temporary: string;
  readonly #terms: UploadTerms;
  readonly #hash: ReturnType<Native['newHash']>;
  #held: Buffer[] = [];
  #bytes = 0;
  #pending = 0;
  #upload: Promise<HdfsUpload> | undefined;
  #queue: Promise<void> = Promise.resolve();
  readonly #underWay: Promise<void>[] = [];
  #failure: { error: unknown } | undefined;
  #ended = false;

  constructor(
    files: HdfsFiles,
    hooks: WriterHooks,
    name: string,
    path: string,
    terms: ObjectTerms,
    receivers?: Receivers,
  ) {
    this.#files = files;
    this.#hooks = hooks;
    this.#name = name;
    this.#path = path;
    this.#temporary = files.temporaryFor(path);
    this.#terms = { ...terms, permission: FILE_MODE, receivers };
    this.#hash = hooks.newHash();
  }

  async write(data: Buffer, written?: () => void): Promise<void> {
    this.#refuseEnded();
    this.#hash.update(data);
    this.#bytes += data.length;
    if (this.#upload === undefined) {
      // A copy: what is held may be held long, and the little that is in it would keep more from being used
      // again.
      this.#held.push(Buffer.from(data));
      written?.();
      if (this.#bytes <= SMALL_BYTES) return;
      this.#begin(false);
    } else this.#enqueue(data, written);
    while (this.#pending > MAX_PENDING_BYTES && !this.#failure) await this.#underWay[0];
    await this.#throwIfFailed();
  }

  async close(): Promise<StoredObject> {
    this.#refuseEnded();
    this.#ended = true;
    try {
      if (this.#upload === undefined) this.#begin(true);
      await this.#queue;
      await this.#throwIfFailed();
      const { copies, coding } = this.#terms;
      const object = {
        name: this.#name,
        bytes: this.#bytes,
        xxh3: this.#hash.digest(),
        copies,
        ...(coding !== undefined && { coding }),
      };
      if (!(await (await this.#upload!).finish())) await this.#hooks.readBack(this.#temporary, object);
      await this.#files.replace(this.#temporary, this.#path);
      this.#upload = undefined;
      await this.#hooks.published(object);
      return object;
    } catch (error) {
      await this.#discard();
      throw error;
    }
  }

  async abort(): Promise<void> {
    this.#ended = true;
    await this.#discard();
  }

  #begin(small: boolean): void {
    this.#upload = beginUpload(this.#files, this.#temporary, this.#terms, small);
    for (const data of this.#held.splice(0)) this.#enqueue(data);
    this.#upload.catch((error: unknown) => (this.#failure ??= { error }));
  }

  #enqueue(data: Buffer, written?: () => void): void {
    if (data.length === 0) return written?.();
    this.#pending += data.length;
    const send = async (): Promise<void> => {
      try {
        if (!this.#failure) await (await this.#upload!).send(data);
        written?.();
      } catch (error) {
        this.#failure ??= { error };
      } finally {
        this.#pending -= data.length;
        void this.#underWay.shift();
      }
    };
    this.#queue = this.#queue.then(send);
    this.#underWay.push(this.#queue);
  }

  /** Nothing of it stays. Safe twice. */
  async #discard(): Promise<void> {
    const begun = this.#upload;
    this.#upload = undefined;
    if (begun === undefined) return;
    await bestEffort(begun.then((upload) => upload.abort()));
    await this.#queue;
    await this.#files.discard(this.#temporary);
  }

  async #throwIfFailed(): Promise<void> {
    if (!this.#failure) return;
    this.#ended = true;
    await this.#discard();
    throw this.#failure.error;
  }

  #refuseEnded(): void {
    if (this.#ended)
      throw this.#failure?.error ?? new ParsError('internal', `${this.#name} is not being written any more`);
  }
}
