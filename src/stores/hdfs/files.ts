// SPDX-License-Identifier: Apache-2.0
/** Files and directories of a store in HDFS: the few operations the rest is made of, with typed errors. */
import { setMaxListeners } from 'node:events';
import { posix } from 'node:path';
import { bestEffort } from '../../system/best-effort.js';
import { ParsError } from '../../errors.js';
import { native } from '../../native.js';
import { type CallOptions, type FileStatus, WebHdfsClient, WebHdfsError } from '../../webhdfs/index.js';
import { temporaryName } from '../../system/temporary-name.js';
import { hdfsError, isHdfs } from './errors.js';
import type { HdfsAddress } from './url.js';

export const FILE_MODE = '600';
export const DIRECTORY_MODE = '700';

/** Where the trees of coded files lie. */
const CODED = '.ec';

/** Of one directory: 200,000 guests, or snapshots of one, are more than a store is made for. */
const MAX_ENTRIES = 200_000;

/** A renaming that was not answered is asked for again so often, after a look at what became of it. */
const RENAMES = 3;

export class HdfsFiles {
  readonly client: WebHdfsClient;
  readonly root: string;
  readonly url: string;
  readonly signal: AbortSignal | undefined;

  constructor({ url, root, options }: HdfsAddress, signal?: AbortSignal) {
    this.client = new WebHdfsClient({ newChunkSums: () => native().newChunkSums(), ...options });
    this.url = url;
    this.root = root;
    this.signal = signal;
    // Each open stream listens to it.
    if (signal) setMaxListeners(0, signal);
  }

  pathOf(name: string): string {
    return name === '' ? this.root : `${this.root}/${name}`;
  }

  /** Below it a tree like the store's own, of files that are coded: in HDFS coding is a directory's. */
  codedRoot(coding: string): string {
    return `${this.root}/${CODED}/${coding}`;
  }

  /** Where an object lies: among those with copies, or those of some coding. Null when it is nowhere. */
  async find(path: string): Promise<{ path: string; status: FileStatus } | null> {
    const status = await this.status(path);
    if (status !== null) return { path, status };
    const [, ...coded] = await this.everywhere(path);
    for (const candidate of coded) {
      const there = await this.status(candidate);
      if (there !== null) return { path: candidate, status: there };
    }
    return null;
  }

  /** The same place in each of the trees. */
  async everywhere(path: string): Promise<string[]> {
    const codings = await this.list(`${this.root}/${CODED}`);
    return [
      path,
      ...codings.map(({ pathSuffix }) => this.codedRoot(pathSuffix) + path.slice(this.root.length)),
    ];
  }

  temporaryFor(path: string): string {
    return posix.join(posix.dirname(path), temporaryName(posix.basename(path)));
  }

  /** Runs calls of the client; what they throw becomes a typed error. */
  async call<T>(doing: string, work: (client: WebHdfsClient, call: CallOptions) => Promise<T>): Promise<T> {
    this.signal?.throwIfAborted();
    try {
      return await work(this.client, { signal: this.signal });
    } catch (error) {
      throw hdfsError(error, doing);
    }
  }

  /** Null when there is nothing of that name. */
  status(path: string): Promise<FileStatus | null> {
    return this.call(`looking at ${path}`, (client, call) => statusOrNull(client, path, call));
  }

  /** The entries of a directory; none when it is not there. */
  list(directory: string): Promise<FileStatus[]> {
    return this.call(`listing ${directory}`, async (client, call) => {
      const entries: FileStatus[] = [];
      try {
        for await (const entry of client.list(directory, call)) {
          entries.push(entry);
          if (entries.length > MAX_ENTRIES) throw tooMany(directory);
        }
      } catch (error) {
        if (!isHdfs(error, 'missing')) throw error;
      }
      // A file lists itself, under no name.
      return entries.filter(({ pathSuffix }) => pathSuffix !== '');
    });
  }

  /** Directory by directory, for only the last of several gets the permission that is asked for. */
  async makeParents(path: string, root = this.root): Promise<void> {
    const below = posix
      .relative(root, posix.dirname(path))
      .split('/')
      .filter((segment) => segment !== '');
    for (let depth = 1; depth <= below.length; depth++) {
      const directory = posix.join(root, ...below.slice(0, depth));
      await this.call(`making ${directory}`, (client, call) =>
        client.makeDirectories(directory, { permission: DIRECTORY_MODE, ...call }),
      );
    }
  }

  async remove(path: string): Promise<void> {
    await this.call(`removing ${path}`, (client, call) => client.delete(path, { recursive: true, ...call }));
    await this.removeEmptyParents(path);
  }

  /** Also when the caller has been told to stop: nothing of what he began is to stay. */
  async discard(path: string): Promise<void> {
    await bestEffort(this.client.delete(path));
    await this.removeEmptyParents(path);
  }

  async removeEmptyParents(path: string): Promise<void> {
    for (
      let directory = posix.dirname(path);
      directory.length > this.root.length;
      directory = posix.dirname(directory)
    ) {
      // The coding is its own: recreated by whoever finds it gone, it would have none.
      if (posix.dirname(directory) === `${this.root}/${CODED}` || (await this.#isZone(directory))) return;
      const gone = await this.client.delete(directory).catch((error: unknown) => {
        if (error instanceof WebHdfsError) return false;
        throw error;
      });
      if (!gone) return;
    }
  }

  /** The root of an encryption zone: recreated by whoever finds it gone, it would not encrypt. */
  async #isZone(directory: string): Promise<boolean> {
    const encrypted = async (path: string): Promise<boolean | undefined> =>
      (await statusOrNull(this.client, path, {}))?.encBit;
    try {
      return (await encrypted(directory)) === true && (await encrypted(posix.dirname(directory))) !== true;
    } catch (error) {
      // What cannot be looked at stays.
      if (error instanceof WebHdfsError) return true;
      throw error;
    }
  }

  /** Takes the place of whatever has the name. */
  async replace(temporary: string, path: string): Promise<void> {
    await this.#rename(temporary, path, async (client, call) => {
      await client.renameOver(temporary, path, call);
      return true;
    });
  }

  /**
   * False when the name is taken. The NameNode decides under its lock, so of several exactly one succeeds.
   */
  async publishNew(temporary: string, path: string): Promise<boolean> {
    const renamed = await this.#rename(temporary, path, (client, call) =>
      client.rename(temporary, path, call),
    );
    if (renamed || (await this.status(path)) !== null) return renamed;
    throw new ParsError('unreachable', `${temporary} could not be renamed to ${path}: was it removed?`);
  }

  #rename(
    temporary: string,
    path: string,
    rename: (client: WebHdfsClient, call: CallOptions) => Promise<boolean>,
  ): Promise<boolean> {
    return this.call(`renaming ${temporary} to ${path}`, async (client, call) => {
      const before = await client.status(temporary, call);
      for (let attempt = 1; ; attempt++) {
        const outcome = await rename(client, call).catch((error: unknown) => error);
        if (outcome === true) return true;
        const unanswered = isHdfs(outcome, 'unreachable', 'timeout');
        // The answer was lost, the renaming was not; or it was carried out late, and so the next one refused.
        if ((unanswered || attempt > 1) && isSame(before, await statusOrNull(client, path, call)))
          return true;
        if (unanswered && attempt < RENAMES) continue;
        if (outcome === false) return false;
        throw outcome;
      }
    });
  }
}

function tooMany(directory: string): ParsError {
  return new ParsError(
    'corrupt',
    `${directory} in HDFS has more entries than ${MAX_ENTRIES}, the most of a store`,
    { hint: 'see whether this is the directory, of the cluster, that the store is in' },
  );
}

/** A file keeps its id under another name, and where a server tells none (or 0), its length and time. */
function isSame(before: FileStatus, there: FileStatus | null): boolean {
  if (there === null || there.length !== before.length) return false;
  return before.fileId ? there.fileId === before.fileId : there.modificationTime === before.modificationTime;
}

async function statusOrNull(
  client: WebHdfsClient,
  path: string,
  call: CallOptions,
): Promise<FileStatus | null> {
  try {
    return await client.status(path, call);
  } catch (error) {
    if (isHdfs(error, 'missing')) return null;
    throw error;
  }
}
