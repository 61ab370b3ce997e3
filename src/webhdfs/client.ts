// SPDX-License-Identifier: Apache-2.0
/**
 * WebHDFS, typed. Every operation fails over between NameNodes, has a deadline, ends with the caller's
 * AbortSignal and throws a WebHdfsError. Paths are absolute, as HDFS knows them. Source of names and shapes:
 * https://hadoop.apache.org/docs/stable/hadoop-project-dist/hadoop-hdfs/WebHDFS.html
 */
import {
  ANSWERS,
  parseAnswer,
  type BlockLocation,
  type ContentSummary,
  type FileChecksum,
  type FileStatus,
} from './answers.js';
import { WebHdfsError } from './errors.js';
import { NameNodes, whatOf, type Question } from './namenodes.js';
import { DEFAULTS, type CallOptions, type WebHdfsOptions } from './options.js';
import { Transport } from './transport.js';

/** So much of a file is asked for at a time: 4096 blocks of 32 MiB. */
const LOCATIONS_WINDOW = 2 ** 37;

type Parameters = NonNullable<Question['parameters']>;

export class WebHdfsClient {
  readonly options: WebHdfsOptions;
  readonly transport: Transport;
  readonly nameNodes: NameNodes;

  constructor(options: WebHdfsOptions) {
    this.options = options;
    this.transport = new Transport(options);
    this.nameNodes = new NameNodes(options, this.transport);
  }

  async status(path: string, call: CallOptions = {}): Promise<FileStatus> {
    return parseAnswer(
      ANSWERS.fileStatus,
      whatOf({ op: 'GETFILESTATUS', path }),
      await this.#get('GETFILESTATUS', path, {}, call),
    );
  }

  /**
   * The entries of a directory in the NameNode's order (of bytes), in batches of its choice: memory is
   * bounded for any directory. A listing that does not come forward is 'protocol'.
   */
  async *list(path: string, call: CallOptions = {}): AsyncGenerator<FileStatus> {
    let startAfter: string | undefined;
    for (;;) {
      const body = await this.#get('LISTSTATUS_BATCH', path, { startAfter }, call);
      const { entries, remainingEntries } = parseAnswer(
        ANSWERS.listing,
        whatOf({ op: 'LISTSTATUS_BATCH', path }),
        body,
      );
      yield* entries;
      if (remainingEntries > 0 && entries.length === 0)
        throw new WebHdfsError(
          'protocol',
          `LISTSTATUS_BATCH ${path}: ${remainingEntries} entries remain, and none is listed`,
        );
      if (remainingEntries === 0 || entries.length === 0) return;
      const last = entries.at(-1)?.pathSuffix ?? '';
      if (startAfter !== undefined && !isAfter(last, startAfter))
        throw new WebHdfsError('protocol', `LISTSTATUS_BATCH ${path}: a listing without an end`);
      startAfter = last;
    }
  }

  /** With its parents; fine if it is there. `permission`: octal. */
  async makeDirectories(
    path: string,
    { permission, ...call }: CallOptions & { permission?: string } = {},
  ): Promise<void> {
    const made = await this.#putBoolean('MKDIRS', path, { permission }, { idempotent: true, ...call });
    if (!made) throw new WebHdfsError('other', `MKDIRS ${path}: the NameNode did not make it`);
  }

  /**
   * False: not renamed (the source is missing, the target exists or its directory does not). Not asked again
   * when the connection breaks, so after 'unreachable' or 'timeout' look at both names.
   */
  rename(from: string, to: string, call: CallOptions = {}): Promise<boolean> {
    return this.#putBoolean('RENAME', from, { destination: to }, { idempotent: false, ...call });
  }

  /**
   * Atomically takes the place of the file at `to`, if there is one. Like `rename` not asked again. HttpFS
   * cannot: 'invalid' when `to` is there.
   */
  async renameOver(from: string, to: string, call: CallOptions = {}): Promise<void> {
    const body = await this.#put(
      'RENAME',
      from,
      { destination: to, renameoptions: 'OVERWRITE' },
      { idempotent: false, ...call },
    );
    if (body.trim() === '' || parseAnswer(ANSWERS.boolean, whatOf({ op: 'RENAME', path: from }), body))
      return;
    throw new WebHdfsError(
      'invalid',
      `RENAME ${from}: ${to} is there, and this server knows no renaming over it`,
    );
  }

  /** False: there was nothing to delete (or, after a broken connection, nothing any more). */
  async delete(
    path: string,
    { recursive = false, signal }: CallOptions & { recursive?: boolean } = {},
  ): Promise<boolean> {
    const question: Question = {
      op: 'DELETE',
      method: 'DELETE',
      path,
      parameters: { recursive },
      idempotent: true,
      signal,
    };
    return parseAnswer(ANSWERS.boolean, whatOf(question), (await this.nameNodes.ask(question)).body);
  }

  /** Asks for copies to be made or dropped; they come later. False: not a file that is there. */
  setReplication(path: string, replication: number, call: CallOptions = {}): Promise<boolean> {
    return this.#putBoolean('SETREPLICATION', path, { replication }, { idempotent: true, ...call });
  }

  async setPermission(path: string, permission: string, call: CallOptions = {}): Promise<void> {
    await this.#put('SETPERMISSION', path, { permission }, { idempotent: true, ...call });
  }

  /** Of a file or a directory: HOT, WARM, COLD, ALL_SSD, ONE_SSD... */
  async setStoragePolicy(path: string, storagepolicy: string, call: CallOptions = {}): Promise<void> {
    await this.#put('SETSTORAGEPOLICY', path, { storagepolicy }, { idempotent: true, ...call });
  }

  /** For files made in this directory from now on. The policy must be enabled in the cluster. */
  async setErasureCoding(path: string, ecpolicy: string, call: CallOptions = {}): Promise<void> {
    await this.#put('SETECPOLICY', path, { ecpolicy }, { idempotent: true, ...call });
  }

  /** The policy's name; undefined: copies. */
  async erasureCoding(path: string, call: CallOptions = {}): Promise<string | undefined> {
    return ecPolicyName(whatOf({ op: 'GETECPOLICY', path }), await this.#get('GETECPOLICY', path, {}, call));
  }

  async contentSummary(path: string, call: CallOptions = {}): Promise<ContentSummary> {
    return parseAnswer(
      ANSWERS.contentSummary,
      whatOf({ op: 'GETCONTENTSUMMARY', path }),
      await this.#get('GETCONTENTSUMMARY', path, {}, call),
    );
  }

  /** Where each block of a range (of all) lives, as the NameNode believes now: one after the other. */
  async blockLocations(
    path: string,
    { offset = 0, length = Infinity, ...call }: CallOptions & { offset?: number; length?: number } = {},
  ): Promise<BlockLocation[]> {
    const blocks: BlockLocation[] = [];
    for (let at = offset; at < offset + length;) {
      const window = Math.min(offset + length - at, LOCATIONS_WINDOW);
      const found = await this.#locationsIn(path, at, window, call);
      blocks.push(...found);
      const last = found.at(-1);
      if (last === undefined || last.offset + last.length < at + window) break;
      at = last.offset + last.length;
    }
    return blocks;
  }

  async #locationsIn(
    path: string,
    offset: number,
    length: number,
    call: CallOptions,
  ): Promise<BlockLocation[]> {
    const what = whatOf({ op: 'GETFILEBLOCKLOCATIONS', path });
    const body = await this.#get('GETFILEBLOCKLOCATIONS', path, { offset, length }, call);
    const blocks = parseAnswer(ANSWERS.locations, what, body);
    const stray = blocks.some(
      (block, i) =>
        block.length === 0
        || (i === 0 ? block.offset > offset : block.offset !== blocks[i - 1]!.offset + blocks[i - 1]!.length),
    );
    if (stray) throw new WebHdfsError('protocol', `${what}: blocks that do not follow each other`);
    return blocks;
  }

  /** Computed by DataNodes from the checksums they keep; the data is not read. */
  async checksum(path: string, { signal }: CallOptions = {}): Promise<FileChecksum> {
    const { what, redirect, body } = await this.nameNodes.ask({
      op: 'GETFILECHECKSUM',
      method: 'GET',
      path,
      idempotent: true,
      leadsOn: true,
      signal,
    });
    if (!redirect) return parseAnswer(ANSWERS.checksum, what, body);
    const answer = await this.transport.whole(
      { what, method: 'GET', ...redirect, dataNode: true },
      this.options.requestMs ?? DEFAULTS.requestMs,
      signal,
    );
    return parseAnswer(ANSWERS.checksum, what, answer.body);
  }

  async #get(op: string, path: string, parameters: Parameters, { signal }: CallOptions): Promise<string> {
    return (await this.nameNodes.ask({ op, method: 'GET', path, parameters, idempotent: true, signal })).body;
  }

  async #put(
    op: string,
    path: string,
    parameters: Parameters,
    { idempotent, signal }: CallOptions & { idempotent: boolean },
  ): Promise<string> {
    return (await this.nameNodes.ask({ op, method: 'PUT', path, parameters, idempotent, signal })).body;
  }

  async #putBoolean(
    op: string,
    path: string,
    parameters: Parameters,
    call: CallOptions & { idempotent: boolean },
  ): Promise<boolean> {
    return parseAnswer(ANSWERS.boolean, whatOf({ op, path }), await this.#put(op, path, parameters, call));
  }
}

/** In the order of HDFS, of the names' UTF-8 bytes. */
const isAfter = (name: string, other: string): boolean =>
  Buffer.compare(Buffer.from(name), Buffer.from(other)) > 0;

/** The answer of a path without a policy is empty, {} or null, depending on the version. */
function ecPolicyName(what: string, body: string): string | undefined {
  if (body.trim() === '') return undefined;
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch (cause) {
    throw new WebHdfsError('protocol', `${what}: not the answer of a WebHDFS`, { cause });
  }
  return answer !== null && typeof answer === 'object' && 'name' in answer && typeof answer.name === 'string'
    ? answer.name
    : undefined;
}
