// SPDX-License-Identifier: Apache-2.0
/** A stored snapshot, opened for reading: its index, checked, and its frames on demand. */
import { ParsError } from '../errors.js';
import {
  decodeIndex,
  isStored,
  mostIndexBytes,
  packName,
  type IndexFrame,
  type IndexStripe,
} from './index-table.js';
import { storedImageBytes, type Manifest } from './manifest.js';
import { isExpendableKind, PAGE_CLASSES } from '../page-classes.js';
import { objectPath } from './snapshots.js';
import type { Store, Stretch } from '../stores/store.js';

export class SnapshotSource {
  readonly manifest: Manifest;
  readonly stripes: readonly IndexStripe[];
  readonly #store: Store;
  /** Frames that the store said are unavailable, and why. */
  readonly #away = new Map<IndexFrame, string>();
  #pace: (bytes: number) => Promise<void> = async () => undefined;

  private constructor(store: Store, manifest: Manifest, stripes: readonly IndexStripe[]) {
    this.#store = store;
    this.manifest = manifest;
    this.stripes = stripes;
  }

  /**
   * Reads and checks the index. Throws 'lost' when no good copy of it is left, 'unreachable' when one may
   * come back.
   */
  static async open(store: Store, manifest: Manifest): Promise<SnapshotSource> {
    const { name, bytes, sha256 } = manifest.index;
    if (bytes > mostIndexBytes(storedImageBytes(manifest)))
      throw new ParsError('corrupt', `the manifest of ${manifest.snapshot} names an index of ${bytes} bytes`);
    const data = await store
      .readRange(objectPath(manifest.snapshot, name), 0, bytes, sha256)
      .catch((error: unknown) => {
        throw lossOf(error, `the index of ${manifest.snapshot}`);
      });
    const packs = new Map(manifest.objects.map((object) => [object.name, object.bytes]));
    const stripes = decodeIndex(data, {
      imageBytes: storedImageBytes(manifest),
      packBytes: (pack) => packs.get(pack),
      mapped: manifest.image.mappedBlocks !== undefined,
      references: manifest.references !== undefined,
    });
    return new SnapshotSource(store, manifest, stripes);
  }

  /**
   * Asks the store what of the snapshot is unavailable, before anything is changed for it: throws when a
   * frame is among it that the guest cannot do without; others are not tried again.
   */
  async survey(): Promise<void> {
    if (!this.#store.unavailable) return;
    const { snapshot, objects, index } = this.manifest;
    const packs = objects
      .filter(({ name }) => name !== index.name)
      .map(({ name }) => objectPath(snapshot, name));
    const away = await this.#store.unavailable(packs);
    if (away.length === 0) return;
    for (const stripe of this.stripes)
      for (const frame of stripe.frames.filter(isStored)) this.#mark(frame, stripe, away);
  }

  #mark(frame: IndexFrame, stripe: IndexStripe, away: readonly Stretch[]): void {
    const pack = objectPath(this.manifest.snapshot, packName(frame.kind, frame.pack));
    const hit = away.find(
      ({ name, offset, bytes }) =>
        name === pack && offset < frame.offset + frame.bytes && offset + bytes > frame.offset,
    );
    if (!hit) return;
    if (!isExpendableKind(frame.kind)) {
      throw new ParsError('unreachable', `${describeFrame(frame, stripe)} is unavailable: ${hit.why}`, {
        hint: 'the guest cannot do without it: start the DataNodes that are down, then try again',
      });
    }
    this.#away.set(frame, hit.why);
  }

  /** From now on each read of a frame waits for what this returns. */
  readAt(pace: (bytes: number) => Promise<void>): void {
    this.#pace = pace;
  }

  /** The compressed bytes of a stored frame, checked against its digest. */
  async read(frame: IndexFrame): Promise<Buffer> {
    const why = this.#away.get(frame);
    if (why !== undefined) throw new ParsError('unreachable', why);
    await this.#pace(frame.bytes);
    return this.#store.readRange(
      objectPath(this.manifest.snapshot, packName(frame.kind, frame.pack)),
      frame.offset,
      frame.bytes,
      frame.sha256,
    );
  }
}

/** What a failure to read critical data means: 'unreachable' may pass, everything else is a loss. */
export function lossOf(error: unknown, what: string): unknown {
  if (!(error instanceof ParsError) || (error.kind !== 'missing' && error.kind !== 'corrupt')) return error;
  return new ParsError('lost', `${what} has no readable copy left: ${error.message}`, {
    hint: 'bring back a place that held a copy (see: pars store status), then try again',
    cause: error,
  });
}

/** Nobody waits for expendable data: not to be had now is as good as gone. */
export function isLoss(error: unknown): error is ParsError {
  return (
    error instanceof ParsError
    && (error.kind === 'missing' || error.kind === 'corrupt' || error.kind === 'unreachable')
  );
}

/** A frame in words, for messages. */
export function describeFrame(frame: IndexFrame, stripe: IndexStripe): string {
  const what = PAGE_CLASSES[frame.kind] ?? 'skeleton';
  const pages = frame.pages > 0 ? `${frame.pages} pages of ` : '';
  return `${pages}${what} data at ${stripe.imageOffset} of the image (${packName(frame.kind, frame.pack)})`;
}
