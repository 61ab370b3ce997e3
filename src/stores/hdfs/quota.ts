// SPDX-License-Identifier: Apache-2.0
/** Quotas of the directories a store lies in. */
import { posix } from 'node:path';
import { type ContentSummary, WebHdfsError } from '../../webhdfs/index.js';
import type { HdfsFiles } from './files.js';

/** Which quota does not leave so many bytes and another name; null when all do. */
export async function exceededQuota(files: HdfsFiles, bytes: number): Promise<string | null> {
  for await (const [directory, summary] of summariesUpwards(files)) {
    const full = fullness(summary, bytes);
    if (full !== null) return `${directory} in HDFS: ${full}`;
  }
  return null;
}

/** Bytes that the tightest space quota leaves; null where there is none, or none that may be seen. */
export async function quotaRoom(files: HdfsFiles): Promise<number | null> {
  let room: number | null = null;
  for await (const [, { spaceQuota, spaceConsumed }] of summariesUpwards(files)) {
    if (spaceQuota >= 0) room = Math.min(room ?? Infinity, Math.max(0, spaceQuota - spaceConsumed));
  }
  return room;
}

/** The store's directory and all above it, as far as they may be seen. */
async function* summariesUpwards(
  files: HdfsFiles,
): AsyncGenerator<[directory: string, summary: ContentSummary]> {
  for (let directory = files.root; ; directory = posix.dirname(directory)) {
    const summary = await files.client
      .contentSummary(directory, files.signal ? { signal: files.signal } : {})
      .catch((error: unknown) => {
        if (error instanceof WebHdfsError) return null;
        throw error;
      });
    files.signal?.throwIfAborted();
    if (summary !== null) yield [directory, summary];
    if (directory === '/') return;
  }
}

function fullness(
  { quota, spaceQuota, fileCount, directoryCount, spaceConsumed }: ContentSummary,
  bytes: number,
): string | null {
  if (spaceQuota >= 0 && spaceConsumed + bytes > spaceQuota)
    return (
      `${spaceConsumed} of the ${spaceQuota} bytes of its space quota are used, and another block `
      + `takes ${bytes}`
    );
  if (quota >= 0 && fileCount + directoryCount >= quota) return `its quota of ${quota} names is used up`;
  return null;
}
