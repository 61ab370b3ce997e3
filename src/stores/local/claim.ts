// SPDX-License-Identifier: Apache-2.0
/**
 * An object that is created once, whoever else tries: on every disk that takes it, since it must be seen from
 * whichever are there later. The disks are taken one after another, in the order that their markers give them
 * on every host, so that of two hosts with different disks the first that both have decides: who finds it
 * taken takes back what it has published. Of those that come at the same time the one that is furthest meets
 * nobody, so one of them wins.
 */
import type { ParsError } from '../../errors.js';
import { diskError, type Files } from './files.js';
import type { Place } from './locations.js';
import { tryCopy } from './reader.js';
import { CopyWriter, type DiskPrimitives } from './writer.js';

/** False if the object is there, or another was first. A disk that fails is left out while enough remain. */
export async function createOnce(
  files: Files,
  disk: DiskPrimitives,
  places: readonly Place[],
  { name, data, copies }: { name: string; data: Buffer; copies: number },
): Promise<boolean> {
  const writers = [...places]
    .sort((a, b) => a.marker.index - b.marker.index)
    .map(({ directory }) => new CopyWriter(files, disk, directory, name));
  const isIn = async (some: readonly CopyWriter[]): Promise<boolean> =>
    (await Promise.all(some.map(({ root }) => tryCopy(files, root, name, async () => 'there')))).includes(
      'there',
    );
  if (await isIn(writers)) return false;
  const failures: ParsError[] = [];
  const ready = await prepare(writers, data, failures);
  const { published, taken } =
    ready.length < copies ? { published: [], taken: false } : await publishInTurn(ready, failures);
  // A disk that takes nothing from this host may have taken another's meanwhile.
  const beaten = taken || (await isIn(writers.filter((writer) => !published.includes(writer))));
  const failure = failures.find(({ kind }) => kind === 'internal') ?? failures[0];
  if (!beaten && published.length >= copies && failure?.kind !== 'internal') return true;
  await Promise.all(writers.map((writer) => writer.discard()));
  if (!beaten && failure) throw failure;
  return false;
}

/** Those with all bytes on the disk, in the same order. */
async function prepare(
  writers: readonly CopyWriter[],
  data: Buffer,
  failures: ParsError[],
): Promise<CopyWriter[]> {
  const write = async (writer: CopyWriter): Promise<true> => {
    await writer.open();
    await writer.append(data);
    await writer.settle(data.length);
    return true;
  };
  const written = await Promise.all(
    writers.map((writer) => orDiscarded(writer, failures, () => write(writer))),
  );
  return writers.filter((_, i) => written[i]);
}

/** Until one is `taken`: there is another's. */
async function publishInTurn(
  writers: readonly CopyWriter[],
  failures: ParsError[],
): Promise<{ published: CopyWriter[]; taken: boolean }> {
  const published: CopyWriter[] = [];
  for (const writer of writers) {
    const created = await orDiscarded(writer, failures, () => writer.publishExclusively());
    if (created === false) return { published, taken: true };
    if (created) published.push(writer);
  }
  return { published, taken: false };
}

/** Null after a failure, which is noted; nothing of that copy stays. */
async function orDiscarded<T>(
  writer: CopyWriter,
  failures: ParsError[],
  step: () => Promise<T>,
): Promise<T | null> {
  try {
    return await step();
  } catch (error) {
    failures.push(diskError(error, `creating ${writer.path}`));
    await writer.discard();
    return null;
  }
}
