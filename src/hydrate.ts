/**
 * Turns a stub back into an image, in the same inode (R16, R17). Everything but the record's range is written and synced first,
 * that range last, so at every instant before, the file is a stub that QEMU refuses and we recognise.
 */
import { assemble, outputBytes, type Losses, type Sink } from './assemble.js';
import { checkDisks } from './disks.js';
import { ParsError } from './errors.js';
import type { Host } from './host.js';
import type { ImageFile } from './image-file.js';
import type { ImageFacts } from './inspection.js';
import type { Manifest } from './manifest.js';
import { native } from './native.js';
import type { OnProgress } from './progress.js';
import { probeImage } from './reader.js';
import { diskFull, reserveRoom } from './room.js';
import { claimWaking, refuseConsumed } from './snapshot-life.js';
import type { SnapshotSource } from './snapshot-source.js';
import { readManifest } from './snapshots.js';
import type { Store } from './stores/store.js';
import type { StubRegistry } from './stub-registry.js';
import { agreeWithStub, openStub } from './stub-check.js';
import { MAX_STUB_BYTES, type StubRecord } from './stub.js';

/** The moments of a hydration that tests stop it at. */
export const HYDRATE_STEPS = ['probed', 'claimed', 'reserved', 'assembled', 'shortened', 'synced', 'refilled', 'done'] as const;
export type HydrateStep = (typeof HYDRATE_STEPS)[number];

export interface HydrateOptions {
  /** Hydrate from a consumed snapshot, or one that another host has woken. */
  force: boolean;
  acceptChangedDisks: boolean;
  /** How long to wait for another pars that works on the file. */
  lockWaitMs: number;
  signal?: AbortSignal;
  onProgress?: OnProgress;
  onStep?: (step: HydrateStep) => void;
}

export interface Hydrated {
  /** False: it was whole already. */
  hydrated: boolean;
  image: string;
  domain: ImageFacts['domain'];
  manifest: Manifest | null;
  bytes: number;
  losses: Losses;
}

/** Where a hydration works: the store, opened only for a stub, this host, and what it remembers. */
export interface HydratePlace {
  store(): Promise<Store>;
  host: Host;
  registry: StubRegistry;
}

const NO_LOSSES: Losses = { byPolicy: 0, unexpected: 0 };
const LOCK_POLL_MS = 100;

/** Hydrates the open `image` if it is a stub; a whole image is left as it is. */
export async function hydrate(image: ImageFile, place: HydratePlace, options: HydrateOptions): Promise<Hydrated> {
  await lockWithin(image, options);
  const facts = await probeImage(image.fd, options.signal ? { signal: options.signal } : {});
  options.onStep?.('probed');
  if (facts.stubRecord === null) return { hydrated: false, image: image.path, domain: facts.domain, manifest: null, bytes: facts.bytes, losses: NO_LOSSES };
  const record = openStub(facts, image.path);
  const store = await place.store();
  const source = await agreeingSource(store, image, facts, record);
  await guardLife(store, source.manifest, facts, place.host, options);
  // Known here, wherever it was made: the hook notes the start that consumes it.
  await place.registry.add({ ...record, image: image.path, managedSave: source.manifest.image.managedSave }).catch(() => {});
  options.onStep?.('claimed');
  const losses = await refill(image, source, record, options);
  options.onStep?.('done');
  const bytes = outputBytes(source.stripes, 'packed');
  return { hydrated: true, image: image.path, domain: facts.domain, manifest: source.manifest, bytes, losses };
}

/** The snapshot a record names, after record, manifest and file were found to agree. */
async function agreeingSource(store: Store, image: ImageFile, facts: ImageFacts, record: StubRecord): Promise<SnapshotSource> {
  const manifest = await readManifest(store, record.snapshot).catch((error: unknown) => {
    throw notInStore(error, image.path, record);
  });
  return agreeWithStub(store, image, facts, record, manifest);
}

async function guardLife(store: Store, manifest: Manifest, facts: ImageFacts, host: Host, options: HydrateOptions): Promise<void> {
  if (!options.acceptChangedDisks && !facts.domain.acceptChangedDisks) await checkDisks(manifest.disks);
  if (options.force) return;
  await refuseConsumed(store, manifest);
  await claimWaking(store, manifest, host);
}

async function refill(image: ImageFile, source: SnapshotSource, record: StubRecord, options: HydrateOptions): Promise<Losses> {
  const range = await GuardedRange.around(image, record, outputBytes(source.stripes, 'packed'));
  try {
    const losses = await writeBehindRecord(image, source, record, range, options);
    options.signal?.throwIfAborted();
    await range.writeHeld();
    await image.sync();
    options.onStep?.('refilled');
    return losses;
  } catch (error) {
    await range.backToStub(record);
    throw diskFull(error, image.path);
  }
}

/** Everything but the record's range, in place and synced, and the file at its new length. */
async function writeBehindRecord(image: ImageFile, source: SnapshotSource, record: StubRecord, range: GuardedRange, options: HydrateOptions): Promise<Losses> {
  const bytes = outputBytes(source.stripes, 'packed');
  await reserveRoom(await image.writable(), record.offset, bytes - record.offset, image.path);
  options.onStep?.('reserved');
  const losses = await assemble(source, range, { layout: 'packed', firstStripe: 1, ...options });
  options.onStep?.('assembled');
  await image.truncate(bytes);
  options.onStep?.('shortened');
  await image.sync();
  options.onStep?.('synced');
  return losses;
}

/** Writes into the image, but holds back what belongs where the record stands. */
class GuardedRange implements Sink {
  readonly #image: ImageFile;
  readonly #fd: number;
  readonly #from: number;
  readonly #to: number;
  /** What stands there now, record and hole. */
  readonly #before: Buffer;
  readonly #held: Buffer;

  private constructor(image: ImageFile, fd: number, from: number, before: Buffer) {
    this.#image = image;
    this.#fd = fd;
    this.#from = from;
    this.#to = from + before.length;
    this.#before = before;
    this.#held = Buffer.alloc(before.length);
  }

  static async around(image: ImageFile, record: StubRecord, bytes: number): Promise<GuardedRange> {
    const before = await image.read(record.offset, Math.min(MAX_STUB_BYTES, bytes - record.offset));
    return new GuardedRange(image, await image.writable(), record.offset, before);
  }

  async write(data: Buffer, offset: number): Promise<void> {
    const skip = Math.min(data.length, Math.max(0, this.#to - offset));
    if (skip > 0) data.copy(this.#held, offset - this.#from, 0, skip);
    if (skip === data.length) return;
    await this.#image.write(data.subarray(skip), offset + skip);
    native().startWriteback(this.#fd, offset + skip, data.length - skip);
  }

  async writeHeld(): Promise<void> {
    await this.#image.write(this.#held, this.#from);
  }

  /** After a failure: the record, a hole to the original length, and the room given back. As far as the disk lets us. */
  async backToStub(record: StubRecord): Promise<void> {
    try {
      await this.#image.write(this.#before, this.#from);
      await this.#image.truncate(record.imageBytes);
      if (record.imageBytes > this.#to) await native().punchHole(this.#fd, this.#to, record.imageBytes - this.#to);
      await this.#image.sync();
    } catch {
      // Still a stub: it only takes more room than it should.
    }
  }
}

async function lockWithin(image: ImageFile, { lockWaitMs, signal }: HydrateOptions): Promise<void> {
  const end = Date.now() + lockWaitMs;
  for (;;) {
    try {
      return await image.lock();
    } catch (error) {
      if (!(error instanceof ParsError) || error.kind !== 'busy' || Date.now() >= end) throw error;
    }
    await new Promise((wake) => setTimeout(wake, LOCK_POLL_MS));
    signal?.throwIfAborted();
  }
}

function notInStore(error: unknown, path: string, record: StubRecord): unknown {
  if (!(error instanceof ParsError) || error.kind !== 'missing') return error;
  return new ParsError('missing', `${path} is the stub of ${record.snapshot}, which is not in the store`, {
    hint: `it was offloaded to ${record.storeUrl}; is that the store that is configured?`,
    cause: error,
  });
}
