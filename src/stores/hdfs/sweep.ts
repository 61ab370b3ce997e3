// SPDX-License-Identifier: Apache-2.0
/**
 * What killed writers leave in HDFS, and how old things are, by the NameNode's clock: the one its files'
 * times are from.
 */
import { ParsError } from '../../errors.js';
import { isTemporary, temporaryName } from '../../system/temporary-name.js';
import { DIRECTORY_MODE, type HdfsFiles } from './files.js';
import { MAX_DEPTH } from '../store.js';

/** An upload may take long, and its temporary files with it: none is ever taken away younger than that. */
export const MIN_SWEEP_MS = 24 * 3_600_000;

/** The NameNode tells the time by the directories it makes. Asked once, then counted on. */
export class NameNodeClock {
  readonly #files: HdfsFiles;
  #offset: Promise<number> | undefined;

  constructor(files: HdfsFiles) {
    this.#files = files;
  }

  /** Milliseconds since 1970. */
  async now(): Promise<number> {
    this.#offset ??= this.#ask().catch((error: unknown) => {
      this.#offset = undefined;
      throw error;
    });
    return (await this.#offset) + performance.now();
  }

  async #ask(): Promise<number> {
    const path = this.#files.pathOf(temporaryName('clock'));
    try {
      await this.#files.call(`asking ${this.#files.url} for the time`, (client, call) =>
        client.makeDirectories(path, { permission: DIRECTORY_MODE, ...call }),
      );
      const status = await this.#files.status(path);
      if (status === null) throw new ParsError('unreachable', `${path} was removed by another process`);
      return status.modificationTime - performance.now();
    } finally {
      await this.#files.discard(path);
    }
  }
}

/** Removes temporary files (closed short, open, empty) that are old enough; returns how many there were. */
export async function sweepBelow(
  files: HdfsFiles,
  clock: NameNodeClock,
  { olderThanMs, dryRun }: { olderThanMs: number; dryRun: boolean },
): Promise<number> {
  const before = (await clock.now()) - Math.max(olderThanMs, MIN_SWEEP_MS);
  let swept = 0;
  for (const path of await leftoversBelow(files, files.root, before, 0)) {
    swept++;
    if (!dryRun) await files.remove(path);
  }
  return swept;
}

async function leftoversBelow(
  files: HdfsFiles,
  directory: string,
  before: number,
  depth: number,
): Promise<string[]> {
  if (depth > MAX_DEPTH) return [];
  const found: string[] = [];
  for (const { pathSuffix, type, modificationTime } of await files.list(directory)) {
    const path = `${directory}/${pathSuffix}`;
    if (isTemporary(pathSuffix)) {
      if (modificationTime < before) found.push(path);
    } else if (type === 'DIRECTORY') found.push(...(await leftoversBelow(files, path, before, depth + 1)));
  }
  return found;
}
