// SPDX-License-Identifier: Apache-2.0
/** What a stored snapshot leaves to the guest's disks, run by run. */
import { native } from '../../src/native.js';
import { FRAME_DISK, PAGE_CLASSES, type PageClass } from '../../src/page-classes.js';
import { SnapshotSource } from '../../src/snapshot/snapshot-source.js';
import { readManifest } from '../../src/snapshot/snapshots.js';
import { openStore } from '../../src/stores/open.js';

export interface Reference {
  disk: number;
  offset: number;
  pages: number;
  pageClass: PageClass;
}

const HEADER_BYTES = 8;
const RUN_BYTES = 32;

export async function referencesOf(storeUrl: string, snapshot: string): Promise<Reference[]> {
  const store = await openStore(storeUrl);
  try {
    const source = await SnapshotSource.open(store, await readManifest(store, snapshot));
    const frames = source.stripes.flatMap((stripe) =>
      stripe.frames.filter(({ kind }) => kind === FRAME_DISK),
    );
    const tables = await Promise.all(
      frames.map(async (frame) => native().decompress(await source.read(frame), frame.rawBytes)),
    );
    return tables.flatMap(runsOf);
  } finally {
    await store.close();
  }
}

function runsOf(table: Buffer): Reference[] {
  const count = (table.length - HEADER_BYTES) / RUN_BYTES;
  return Array.from({ length: count }, (_, i) => {
    const at = HEADER_BYTES + i * RUN_BYTES;
    return {
      offset: Number(table.readBigUInt64LE(at)),
      disk: table.readUInt16LE(at + 8),
      pages: table.readUInt16LE(at + 10),
      pageClass: PAGE_CLASSES[table.readUInt8(at + 12)]!,
    };
  });
}
