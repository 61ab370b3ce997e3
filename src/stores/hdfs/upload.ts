// SPDX-License-Identifier: Apache-2.0
/** One file on its way into HDFS: created, sent, checked against what the cluster says it has. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ParsError } from '../../errors.js';
import {
  sameChecksum,
  Upload,
  type ChooseReceiver,
  type CreateOptions,
  type FileChecksum,
  type Uploaded,
} from '../../webhdfs/index.js';
import { hdfsError, isHdfs } from './errors.js';
import type { HdfsFiles } from './files.js';
import { ObjectReader } from './object-reader.js';
import { refusalBehind } from './refusal.js';

export const SMALL_BYTES = 1 << 20;
/**
 * Quota is charged a whole block for each copy while it is written, so blocks of small files are small: the
 * least a NameNode allows by default.
 */
const SMALL_BLOCK = 1 << 20;
/** Every block is a new pipeline, and is read from one DataNode: shorter ones are dear. */
const LARGE_BLOCK = 32 << 20;

export interface UploadTerms {
  copies: number;
  critical: boolean;
  permission: string;
  /**
   * The directory is one of that coding: copies are not counted, and the cluster's checksum is of another
   * kind.
   */
  coding?: string | undefined;
  /** Chooses who receives what has one copy. */
  receivers?: Receivers | undefined;
}

export interface Receivers {
  choose: ChooseReceiver;
  sent(receiver: string, bytes: number): void;
}

/** Begins a file that is known to be small, or taken to be large. */
export async function beginUpload(
  files: HdfsFiles,
  path: string,
  terms: UploadTerms,
  small: boolean,
): Promise<HdfsUpload> {
  await files.makeParents(path);
  return files.call(`creating ${path}`, async (client, { signal }) => {
    const begin = async (blockSize: number): Promise<HdfsUpload> =>
      new HdfsUpload(
        files,
        path,
        { ...terms, blockSize },
        await Upload.begin(client, path, { ...createOptions(terms, blockSize), signal }),
      );
    try {
      return await begin(small ? SMALL_BLOCK : LARGE_BLOCK);
    } catch (error) {
      if (small && isHdfs(error, 'other', 'invalid') && /block size/i.test(error.message))
        return begin(LARGE_BLOCK);
      throw await refusalBehind(files, error, LARGE_BLOCK * terms.copies);
    }
  });
}

function createOptions(
  { copies, critical, permission, receivers }: UploadTerms,
  blockSize: number,
): CreateOptions {
  // R21: a closed block is otherwise in the DataNodes' page caches only.
  const createFlags = critical ? ['CREATE', 'SYNC_BLOCK'] : ['CREATE'];
  return { replication: copies, blockSize, permission, createFlags, chooseReceiver: receivers?.choose };
}

export class HdfsUpload {
  readonly #files: HdfsFiles;
  readonly #path: string;
  readonly #terms: UploadTerms & { blockSize: number };
  readonly #upload: Upload;

  constructor(files: HdfsFiles, path: string, terms: UploadTerms & { blockSize: number }, upload: Upload) {
    this.#files = files;
    this.#path = path;
    this.#terms = terms;
    this.#upload = upload;
  }

  async send(data: Buffer): Promise<void> {
    await this.#explained(() => this.#upload.write(data));
    this.#terms.receivers?.sent(this.#upload.receiver, data.length);
  }

  /**
   * Closes the file and compares what the cluster has with what was sent. False: its checksum is of another
   * kind (as in an encryption zone, where it is of the encrypted bytes), so it must be read back.
   */
  async finish(): Promise<boolean> {
    const sent = await this.#explained(() => this.#upload.close());
    const status = await this.#files.status(this.#path);
    if (status === null)
      throw new ParsError('unreachable', `${this.#path} was removed while it was written`, {
        hint: 'try again',
      });
    if (status.length !== sent.bytes)
      throw new ParsError(
        'corrupt',
        `${this.#path} has ${status.length} bytes in HDFS after ${sent.bytes} were sent`,
      );
    return this.#terms.coding === undefined && status.encBit !== true && this.#check(sent);
  }

  abort(): void {
    this.#upload.abort();
  }

  async #check({ checksum }: Uploaded): Promise<boolean> {
    const theirs = await checksumOf(this.#files, this.#path);
    const same = theirs === null ? undefined : sameChecksum(checksum, theirs);
    if (same === false)
      throw new ParsError('corrupt', `${this.#path} in HDFS does not have the checksum of what was sent`);
    return same === true;
  }

  /** A refusal may have been lost to the hanging up of the DataNode that refused. */
  async #explained<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw hdfsError(
        await refusalBehind(this.#files, error, this.#terms.blockSize * this.#terms.copies),
        `writing ${this.#path}`,
      );
    }
  }
}

const CHECKSUM_TRIES = 6;

/** Null when the cluster cannot say: a DataNode that is dead is asked until the NameNode has noticed. */
async function checksumOf(files: HdfsFiles, path: string): Promise<FileChecksum | null> {
  for (let attempt = 1; attempt <= CHECKSUM_TRIES; attempt++) {
    try {
      return await files.call(`checking ${path}`, (client, call) => client.checksum(path, call));
    } catch (error) {
      files.signal?.throwIfAborted();
      if (!(error instanceof ParsError) || error.kind !== 'unreachable') return null;
    }
    await sleep(100 * attempt);
  }
  return null;
}

/**
 * A whole small file, proved: by the cluster's checksum, or where that cannot be compared by reading it back.
 */
export async function sendSmall(
  files: HdfsFiles,
  path: string,
  data: Buffer,
  terms: UploadTerms,
): Promise<void> {
  const upload = await beginUpload(files, path, terms, data.length <= SMALL_BYTES);
  try {
    if (data.length > 0) await upload.send(data);
    if (await upload.finish()) return;
  } catch (error) {
    upload.abort();
    throw error;
  }
  if (!(await readSmall(files, path)).equals(data)) throw notWhatWasSent(path);
}

async function readSmall(files: HdfsFiles, path: string): Promise<Buffer> {
  const reader = new ObjectReader(files, path);
  return reader.read(0, await reader.length()).finally(() => reader.close());
}

export function notWhatWasSent(path: string): ParsError {
  return new ParsError('corrupt', `${path} read back from HDFS is not what was sent`);
}
