// SPDX-License-Identifier: Apache-2.0
/**
 * Damages a store the way bad sectors would: a random half of a snapshot's expendable frames, in every copy,
 * on the disk.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { packName, isStored, type IndexFrame } from '../../src/snapshot/index-table.js';
import { EXPENDABLE, FRAME_FILL, PAGE_CLASSES } from '../../src/page-classes.js';
import { SnapshotSource } from '../../src/snapshot/snapshot-source.js';
import { objectPath, readManifest } from '../../src/snapshot/snapshots.js';
import { LocalStore } from '../../src/stores/local/local-store.js';

/** What was there to lose, and what was lost. */
export interface Half {
  frames: number;
  lostFrames: number;
  lostPages: number;
}

/** The same seed loses the same frames of the same snapshot. At least one frame goes. */
export async function loseHalf(
  directories: readonly string[],
  snapshot: string,
  seed: number,
): Promise<Half> {
  const store = new LocalStore(directories);
  const { stripes } = await SnapshotSource.open(store, await readManifest(store, snapshot));
  const frames = stripes.flatMap((stripe) =>
    stripe.frames.filter((frame) => isExpendable(frame) && isStored(frame)),
  );
  const random = generator(seed);
  const lost = frames.filter(() => random() < 0.5);
  if (lost.length === 0) throw new Error(`seed ${seed} loses none of ${frames.length} frames`);
  for (const frame of lost) {
    const path = objectPath(snapshot, packName(frame.kind, frame.pack));
    const copies = await Promise.all(directories.map((directory) => damage(join(directory, path), frame)));
    if (!copies.includes(true)) throw new Error(`no directory has ${path}`);
  }
  return {
    frames: frames.length,
    lostFrames: lost.length,
    lostPages: lost.reduce((sum, { pages }) => sum + pages, 0),
  };
}

function isExpendable({ kind }: IndexFrame): boolean {
  const name = PAGE_CLASSES[kind];
  return kind < FRAME_FILL && name !== undefined && EXPENDABLE.has(name);
}

/** False when this directory has no copy. */
async function damage(path: string, { offset }: IndexFrame): Promise<boolean> {
  const file = await open(path, 'r+').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (!file) return false;
  try {
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, offset);
    byte[0] = byte[0]! ^ 0xff;
    await file.write(byte, 0, 1, offset);
    return true;
  } finally {
    await file.close();
  }
}

/** A linear congruential generator (Numerical Recipes' constants): evenly spread is all it must be. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
