// SPDX-License-Identifier: Apache-2.0
/** Makes copies of an object from one that is good: after a disk was replaced, or a copy decayed. */
import { join } from 'node:path';
import { ParsError } from '../../errors.js';
import { diskError, type Files } from './files.js';
import { type Attempt, isAttempt } from './reader.js';
import { CopyWriter, type DiskPrimitives } from './writer.js';
import type { StoredObject } from '../store.js';

const CHUNK_BYTES = 4 << 20;

/** Looks at the copy in a directory, every byte of it. */
type Look = (directory: string) => Promise<'good' | Attempt>;

/**
 * Replaces what is corrupt, then adds copies until there are enough, and throws when no place is left for
 * them. `places` in the order in which copies are placed. A copy that could not be read is left alone: its
 * disk answers with errors.
 */
export async function replicateCopies(
  files: Files,
  disk: DiskPrimitives,
  places: readonly string[],
  object: StoredObject,
  look: Look,
): Promise<void> {
  const seen = await Promise.all(
    places.map(async (directory) => ({ directory, result: await look(directory) })),
  );
  const good = seen.filter(({ result }) => result === 'good').map(({ directory }) => directory);
  const [source] = good;
  if (source === undefined)
    throw new ParsError('missing', `${object.name} has no good copy to make others from`);
  const faulty = (fault: Attempt['fault']): string[] =>
    seen
      .filter(({ result }) => isAttempt(result) && result.fault === fault)
      .map(({ directory }) => directory);
  const corrupt = faulty('corrupt');
  const added = faulty('missing').slice(0, Math.max(0, object.copies - good.length - corrupt.length));
  for (const target of [...corrupt, ...added]) await copy(files, disk, source, target, object, look);
  const copies = good.length + corrupt.length + added.length;
  if (copies >= object.copies) return;
  throw new ParsError(
    'missing',
    `${object.name}: ${copies} of ${object.copies} copies are good, and no directory is left for more`,
    { hint: 'bring back the directories that are away; see: pars store status' },
  );
}

async function copy(
  files: Files,
  disk: DiskPrimitives,
  source: string,
  target: string,
  object: StoredObject,
  look: Look,
): Promise<void> {
  const writer = new CopyWriter(files, disk, target, object.name);
  try {
    await writer.open();
    await pour(files, join(source, object.name), writer);
    await writer.settle(object.bytes);
    await writer.publish();
  } catch (error) {
    await writer.discard();
    throw error;
  }
  const result = await look(target);
  if (isAttempt(result))
    throw new ParsError(
      'corrupt',
      `the new copy of ${object.name} in ${target} is not good: ${result.detail}`,
    );
}

async function pour(files: Files, path: string, writer: CopyWriter): Promise<void> {
  const handle = await files.open(path, 'r').catch((error: unknown) => {
    throw diskError(error, `reading ${path}`);
  });
  try {
    for (let at = 0; ;) {
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES, at);
      if (bytesRead === 0) return;
      await writer.append(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
  } finally {
    await handle.close();
  }
}
