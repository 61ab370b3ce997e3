// SPDX-License-Identifier: Apache-2.0
/**
 * A small snapshot in a store, of frames that hold noise: what verify and repair are tested on. Nothing of it
 * makes an image.
 */
import { createHash } from 'node:crypto';
import { encodeIndex, packName, type IndexFrame, type IndexStripe } from '../../src/snapshot/index-table.js';
import type { Manifest, ManifestObject } from '../../src/snapshot/manifest.js';
import { encodeManifest } from '../../src/snapshot/manifest-codec.js';
import { native } from '../../src/native.js';
import { MANIFEST_NAME, objectPath } from '../../src/snapshot/snapshots.js';
import type { Store } from '../../src/stores/store.js';
import { noisePage, PAGE } from './image-builder.js';
import { sampleManifest } from './manifests.js';

export const KERNEL = 0,
  CLEAN = 2,
  SKELETON = 13,
  RECOVERY = 14;
const STRIPES = 4;
const PAGES = 3;
const STRIPE_BYTES = 1 << 16;

/** Four stripes, each with kernel data, clean cache (once) and a skeleton; the last has no recovery. */
export async function storeSnapshot(store: Store, changes: Partial<Manifest> = {}): Promise<Manifest> {
  const base = sampleManifest(changes);
  const packs = new Map<string, Buffer[]>();
  const add = async (kind: number, pages: number, raw: Buffer): Promise<IndexFrame> => {
    const data = await native().compress(raw, 1);
    const name = packName(kind, 0);
    const parts = packs.get(name) ?? [];
    const offset = parts.reduce((sum, part) => sum + part.length, 0);
    packs.set(name, [...parts, data]);
    return { kind, pack: 0, rawBytes: raw.length, offset, bytes: data.length, pages, sha256: digest(data) };
  };
  const stripes: IndexStripe[] = [];
  for (let i = 0; i < STRIPES; i++) {
    const frames = [
      await add(KERNEL, PAGES, pages(i * 10)),
      await add(CLEAN, PAGES, pages(i * 10 + 5)),
      await add(SKELETON, 0, noisePage(900 + i)),
    ];
    if (i < STRIPES - 1) frames.push(await add(RECOVERY, 0, noisePage(950 + i)));
    stripes.push({ imageOffset: i * STRIPE_BYTES, imageBytes: STRIPE_BYTES, frames });
  }
  const index = encodeIndex(stripes);
  packs.set('index', [index]);
  const objects: ManifestObject[] = [];
  for (const [name, parts] of packs)
    objects.push({
      ...(await put(store, objectPath(base.snapshot, name), parts, name.startsWith('clean') ? 1 : 3)),
      name,
    });
  const manifest: Manifest = {
    ...base,
    objects,
    index: { name: 'index', bytes: index.length, sha256: digest(index) },
    image: { ...base.image, bytes: STRIPES * STRIPE_BYTES },
  };
  await put(store, objectPath(base.snapshot, MANIFEST_NAME), [encodeManifest(manifest)], 3);
  return manifest;
}

async function put(store: Store, name: string, parts: Buffer[], copies: number): Promise<ManifestObject> {
  const writer = await store.create(name, { copies, critical: copies > 1 });
  for (const part of parts) await writer.write(part);
  return writer.close();
}

function pages(seed: number): Buffer {
  const data = Buffer.concat(Array.from({ length: PAGES }, (_, i) => noisePage(seed + i)));
  if (data.length !== PAGES * PAGE) throw new Error('pages of another size');
  return data;
}

function digest(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}
