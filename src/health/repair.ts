// SPDX-License-Identifier: Apache-2.0
/**
 * Brings a snapshot back to what its policy asks for: copies made from copies, packs put together from frames
 * that survive in different copies, and expendable frames that are in no copy given up. New objects first,
 * the manifest after them, old objects last: killed at any instant, the snapshot is one that was whole before
 * or one that is whole after.
 */
import { createHash, randomBytes } from 'node:crypto';
import { ParsError } from '../errors.js';
import {
  encodeIndex,
  noDigest,
  packName,
  type IndexFrame,
  type IndexStripe,
} from '../snapshot/index-table.js';
import type { Manifest, ManifestObject } from '../snapshot/manifest.js';
import { encodeManifest } from '../snapshot/manifest-codec.js';
import { EXPENDABLE, PAGE_CLASSES, type PageClass } from '../page-classes.js';
import { describeDispute, disputedClaim } from './disputed.js';
import { canLose, framesOf, type ObjectFinding, type SnapshotHealth } from './snapshot-health.js';
import { SnapshotSource } from '../snapshot/snapshot-source.js';
import { MANIFEST_NAME, objectPath, readManifest } from '../snapshot/snapshots.js';
import { bytesKept } from '../stores/coding.js';
import { writeProved } from '../stores/proved-object.js';
import type { Store, StoredObject } from '../stores/store.js';

export interface Repair {
  /** Objects that have all their copies again. */
  replicated: string[];
  /** Objects put together from frames of different copies. */
  rebuilt: string[];
  /** Expendable pages that were given up. */
  droppedPages: number;
  /** What could not be repaired now, and why. */
  failed: { name: string; error: ParsError }[];
}

/**
 * How long copies are waited for, of all objects together: a store that makes them by itself makes them at
 * the same time.
 */
const MEND_WAIT_MS = 60_000;

/**
 * Repairs what `health` found. `mayDrop`: expendable frames that are lost may be given up (the owner's to
 * decide, R27).
 */
export async function repair(store: Store, health: SnapshotHealth, mayDrop: boolean): Promise<Repair> {
  return new Repairing(store, health).run(mayDrop);
}

class Repairing {
  readonly #store: Store;
  readonly #health: SnapshotHealth;
  readonly #result: Repair = { replicated: [], rebuilt: [], droppedPages: 0, failed: [] };
  #waitUntil: number | undefined;

  constructor(store: Store, health: SnapshotHealth) {
    this.#store = store;
    this.#health = health;
  }

  async run(mayDrop: boolean): Promise<Repair> {
    const { findings } = this.#health;
    for (const finding of findings.filter(({ condition }) => condition === 'under-replicated'))
      await this.#attempt(finding.name, () => this.#thicken(finding));
    const dropped = mayDrop ? findings.filter((finding) => this.#canDrop(finding)) : [];
    if (dropped.length > 0) await this.#attempt(MANIFEST_NAME, () => this.#drop(dropped));
    return this.#result;
  }

  /** What goes wrong with one object does not keep the others from being repaired. */
  async #attempt(name: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof ParsError) || error.kind === 'internal') throw error;
      this.#result.failed.push({ name, error });
    }
  }

  async #thicken(finding: ObjectFinding): Promise<void> {
    if (finding.health.good > 0) {
      await this.#refuseDisputed(finding);
      this.#waitUntil ??= performance.now() + MEND_WAIT_MS;
      await this.#store.replicate(finding.object, {
        waitMs: Math.max(0, this.#waitUntil - performance.now()),
      });
      this.#result.replicated.push(finding.name);
      return;
    }
    await this.#rebuild(finding);
    this.#result.rebuilt.push(finding.name);
  }

  /** None of the copies that differ is the better one: each is the claim of a host that may have resumed. */
  async #refuseDisputed({ name, role }: ObjectFinding): Promise<void> {
    const { snapshot } = this.#health.manifest;
    const records = role === 'state' ? await disputedClaim(this.#store, snapshot, name) : null;
    if (records === null) return;
    throw new ParsError('refused', `${describeDispute(name, records)}: none is copied over the other`, {
      hint:
        'a guest must not run twice; once it is certain on which host it is to run, there: pars takeover '
        + snapshot,
    });
  }

  /** A pack is its frames, one after another: what comes out is the old pack, or nothing is published. */
  async #rebuild({ name, object }: ObjectFinding): Promise<void> {
    const source = await this.#source();
    const { copies, coding } = object;
    await writeProved(this.#store, object.name, { copies, critical: true, coding }, async (write) => {
      let bytes = 0;
      for (const frame of framesOf(source.stripes, name)) {
        if (frame.offset !== bytes)
          throw new ParsError(
            'corrupt',
            `${name} holds more than its frames, so it cannot be put together from them`,
          );
        await write(await source.read(frame));
        bytes += frame.bytes;
      }
      if (bytes !== object.bytes)
        throw new ParsError('corrupt', `the frames of ${name} make ${bytes} bytes, it had ${object.bytes}`);
    });
  }

  #canDrop({ condition, critical, lost }: ObjectFinding): boolean {
    if (condition !== 'lost' || critical || lost.length === 0) return false;
    return (this.#health.stripes ?? []).every((stripe) =>
      stripe.frames.every((frame) => !lost.includes(frame) || canLose(frame, stripe)),
    );
  }

  /**
   * Frames that survive move to new packs; the others become frames that are not stored, as under a policy of
   * 0 copies.
   */
  async #drop(findings: readonly ObjectFinding[]): Promise<void> {
    const source = await this.#source();
    const moved = new Map<IndexFrame, IndexFrame>();
    const objects: ManifestObject[] = [];
    for (const finding of findings) {
      const pack = await this.#repack(source, finding, moved, objects);
      if (pack !== null) objects.push(pack);
    }
    const stripes = source.stripes.map((stripe) => ({
      ...stripe,
      frames: stripe.frames.map((frame) => moved.get(frame) ?? frame),
    }));
    const gone = new Set([...findings.map(({ name }) => name), this.#health.manifest.index.name]);
    await this.#commit(stripes, objects, gone, pagesOf(findings.flatMap(({ lost }) => lost)));
  }

  async #repack(
    source: SnapshotSource,
    { name, lost, object }: ObjectFinding,
    moved: Map<IndexFrame, IndexFrame>,
    taken: readonly ManifestObject[],
  ): Promise<ManifestObject | null> {
    const isLost = (frame: IndexFrame): boolean =>
      lost.some((one) => one.pack === frame.pack && one.kind === frame.kind && one.offset === frame.offset);
    const frames = framesOf(source.stripes, name);
    for (const frame of frames.filter(isLost))
      moved.set(frame, { ...frame, pack: 0, offset: 0, bytes: 0, sha256: noDigest() });
    const kept = frames.filter((frame) => !isLost(frame));
    const [first] = kept;
    if (first === undefined) return null;
    const pack = this.#freeNumber(first.kind, taken);
    const stored = await this.#write(packName(first.kind, pack), object.copies, false, async (write) => {
      let offset = 0;
      for (const frame of kept) {
        await write(await source.read(frame));
        moved.set(frame, { ...frame, pack, offset });
        offset += frame.bytes;
      }
    });
    return entryOf(packName(first.kind, pack), stored);
  }

  #freeNumber(kind: number, taken: readonly ManifestObject[]): number {
    const names = new Set([...this.#health.manifest.objects, ...taken].map(({ name }) => name));
    let number = 0;
    while (names.has(packName(kind, number))) number++;
    if (number > 0xffff)
      throw new ParsError(
        'refused',
        `no number is free for another pack of ${PAGE_CLASSES[kind] ?? 'skeleton'} data`,
      );
    return number;
  }

  async #commit(
    stripes: IndexStripe[],
    added: readonly ManifestObject[],
    gone: ReadonlySet<string>,
    droppedPages: number,
  ): Promise<void> {
    const { manifest } = this.#health;
    const index = encodeIndex(stripes);
    const name = `index-${randomBytes(4).toString('hex')}`;
    const stored = await this.#write(name, manifest.policy.criticalCopies, true, (write) => write(index));
    const objects = [
      ...manifest.objects.filter((object) => !gone.has(object.name)),
      ...added,
      entryOf(name, stored),
    ];
    const next: Manifest = {
      ...manifest,
      objects,
      index: { name, bytes: index.length, sha256: createHash('sha256').update(index).digest('hex') },
      classes: withStored(manifest, stripes),
      storedBytes: objects.reduce((sum, object) => sum + bytesKept(object), 0),
      revision: manifest.revision + 1,
      droppedPages: manifest.droppedPages + droppedPages,
    };
    // Throws for a snapshot that was removed meanwhile: with a manifest it would be one again, without data.
    await readManifest(this.#store, manifest.snapshot);
    await this.#write(MANIFEST_NAME, manifest.policy.criticalCopies, true, (write) =>
      write(encodeManifest(next)),
    );
    this.#result.droppedPages += droppedPages;
    for (const object of gone) await this.#store.remove(objectPath(manifest.snapshot, object));
  }

  async #write(
    name: string,
    copies: number,
    critical: boolean,
    fill: (write: (data: Buffer) => Promise<void>) => Promise<void>,
  ): Promise<StoredObject> {
    const path = objectPath(this.#health.manifest.snapshot, name);
    return writeProved(this.#store, path, { copies, critical }, fill);
  }

  #source(): Promise<SnapshotSource> {
    return SnapshotSource.open(this.#store, this.#health.manifest);
  }
}

function entryOf(name: string, { bytes, xxh3, copies, coding }: StoredObject): ManifestObject {
  return { name, bytes, xxh3, copies, ...(coding !== undefined && { coding }) };
}

function pagesOf(frames: readonly IndexFrame[]): number {
  return frames.reduce((sum, { pages }) => sum + pages, 0);
}

function withStored(manifest: Manifest, stripes: readonly IndexStripe[]): Manifest['classes'] {
  const frames = stripes.flatMap((stripe) => stripe.frames);
  const bytesOf = (kind: number): number =>
    frames.reduce((sum, frame) => sum + (frame.kind === kind ? frame.bytes : 0), 0);
  const { copies, coding } = manifest.policy;
  const kept = (name: PageClass, kind: number): number =>
    bytesKept({
      bytes: bytesOf(kind),
      copies: copies[name],
      coding: EXPENDABLE.has(name) ? undefined : coding,
    });
  const entries = PAGE_CLASSES.map((name, kind) => [
    name,
    { ...manifest.classes[name], storedBytes: kept(name, kind) },
  ]);
  return Object.fromEntries(entries) as Manifest['classes'];
}
