// SPDX-License-Identifier: Apache-2.0
/**
 * A DataNode that is refused midway (quota, safe mode) answers and hangs up at once, and the answer can be
 * lost to the hanging up. One that finds no room for its block says only that every DataNode of the pipeline
 * is bad. So the cluster is asked what it was.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { WebHdfsError } from '../../webhdfs/index.js';
import { isHdfs } from './errors.js';
import type { HdfsFiles } from './files.js';
import { countNodes } from './nodes.js';
import { exceededQuota } from './quota.js';

/** Two heartbeats, three seconds apart by default, and some time for what they tell; ms. */
const HEARTBEATS_MS = 8_000;
const ASK_MS = 500;

/** `error`, or the refusal that hid behind it. `bytes`: what one more block takes, over all copies. */
export async function refusalBehind(files: HdfsFiles, error: unknown, bytes: number): Promise<unknown> {
  if (!isHdfs(error, 'unreachable', 'other') || files.signal?.aborted) return error;
  const safeMode = await safeModeOf(files);
  if (safeMode !== null) return safeMode;
  const quota = await exceededQuota(files, bytes);
  if (quota !== null) return new WebHdfsError('quota', quota, { cause: error, node: error.node });
  const room = await shortRoom(files, bytes);
  return room === null
    ? error
    : new WebHdfsError(
        'no-space',
        `the DataNodes of ${files.url} have room for ${room} bytes, and another block takes ${bytes}`,
        { cause: error, node: error.node },
      );
}

/**
 * The room that there is, when it is too little. The NameNode knows it from the DataNodes' heartbeats, so
 * those are waited for.
 */
async function shortRoom(files: HdfsFiles, bytes: number): Promise<number | null> {
  for (const deadline = performance.now() + HEARTBEATS_MS; ; await sleep(ASK_MS)) {
    const room = (await countNodes(files))?.freeBytes;
    if (room === undefined || room < bytes) return room ?? null;
    if (performance.now() > deadline || files.signal?.aborted) return null;
  }
}

/** What the NameNode says of a change that changes nothing. */
async function safeModeOf(files: HdfsFiles): Promise<WebHdfsError | null> {
  try {
    await files.client.makeDirectories('/', files.signal ? { signal: files.signal } : {});
    return null;
  } catch (error) {
    files.signal?.throwIfAborted();
    return isHdfs(error, 'safe-mode') ? error : null;
  }
}
