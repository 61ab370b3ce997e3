// SPDX-License-Identifier: Apache-2.0
/**
 * Turns a stub back into an image, in the same inode (R16, R17). Everything but the record's range is written
 * and synced first, that range last, so at every instant before, the file is a stub that QEMU refuses and we
 * recognise.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { orTellSystem } from '../system/system-log.js';
import type { Losses } from '../snapshot/assemble.js';
import { checkDisks } from '../disks/compare.js';
import { ParsError } from '../errors.js';
import type { Host } from '../system/host.js';
import type { ImageFile } from '../image/image-file.js';
import type { ImageFacts } from '../reader/inspection.js';
import type { Manifest } from '../snapshot/manifest.js';
import type { OnProgress } from '../progress.js';
import { probeImage } from '../reader/reader.js';
import { memorySnapshotOf } from '../libvirt/memory-snapshots.js';
import type { DiskSource } from '../libvirt/disk-sources.js';
import { disksAtRevert, withSources } from './memory-file.js';
import { refill, type RefillStep } from './refill.js';
import { claimByForce, claimWaking, refuseConsumed, settleStarts } from './claims.js';
import type { SnapshotSource } from '../snapshot/snapshot-source.js';
import { readManifest } from '../snapshot/snapshots.js';
import type { Store } from '../stores/store.js';
import { knownStub, type StubRegistry } from '../image/stub-registry.js';
import { agreeWithStub, openStub } from './stub-check.js';
import type { StubRecord } from '../image/stub.js';
import { steadyMs } from '../system/steady-clock.js';

/** The moments of a hydration that tests stop it at. */
export const HYDRATE_STEPS = [
  'probed',
  'claimed',
  'reserved',
  'assembled',
  'shortened',
  'synced',
  'refilled',
  'done',
] as const;
export type HydrateStep = (typeof HYDRATE_STEPS)[number] & (RefillStep | 'probed' | 'claimed' | 'done');

export interface HydrateOptions {
  /** Hydrate from a consumed snapshot, or one that another host has resumed. */
  force: boolean;
  acceptChangedDisks: boolean;
  /**
   * Where the guest's disks are now, as libvirt says; without it its own snapshot of the file is asked, if
   * there is one.
   */
  disks?: readonly DiskSource[];
  /** Disks that nobody can compare are taken for unchanged. */
  acceptUncomparedDisks?: boolean;
  /** How long to wait for another pars that works on the file. */
  lockWaitMs: number;
  /** Resolves when so many more bytes may be read from the store. */
  pace?: (bytes: number) => Promise<void>;
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
  /** Where libvirt keeps the XML of its own snapshots. */
  libvirtSnapshots?: string;
}

const NO_LOSSES: Losses = { byPolicy: 0, unexpected: 0, recovered: 0 };
const LOCK_POLL_MS = 100;

/** Hydrates the open `image` if it is a stub; a whole image is left as it is. */
export async function hydrate(
  image: ImageFile,
  place: HydratePlace,
  options: HydrateOptions,
): Promise<Hydrated> {
  await lockWithin(image, options);
  await place.registry.changes.repair(image);
  const facts = await probeImage(image.fd, options.signal ? { signal: options.signal } : {});
  options.onStep?.('probed');
  if (facts.stubRecord === null)
    return {
      hydrated: false,
      image: image.path,
      domain: facts.domain,
      manifest: null,
      bytes: facts.bytes,
      losses: NO_LOSSES,
    };
  const record = openStub(facts, image.path);
  const store = await place.store();
  await settleOwnStarts(store, facts, place, options);
  const source = await agreeingSource(store, image, facts, record);
  if (options.pace) source.readAt(options.pace);
  await source.survey();
  await guardDisks(image.path, source.manifest, facts.domain, place, options);
  await guardClaim(store, source.manifest, place.host, options);
  // Known here, wherever it was made: the hook notes the start that consumes it.
  const known = knownStub(image.path, record, source.manifest);
  const notNoted = `the stub ${image.path} could not be noted`;
  await orTellSystem(place.registry.add(known), notNoted);
  options.onStep?.('claimed');
  const { losses, bytes } = await refill(image, facts, source, record, {
    ...options,
    changes: place.registry.changes,
    // The stub's own word: its XML may have been edited since the image was offloaded.
    movedDisks: placesOf(facts),
  });
  // If its start fails it becomes the stub again, with nothing stored again.
  await orTellSystem(place.registry.add({ ...known, refilled: await image.version() }), notNoted);
  options.onStep?.('done');
  return {
    hydrated: true,
    image: image.path,
    domain: facts.domain,
    manifest: source.manifest,
    bytes,
    losses,
  };
}

/** Of disks that are files or devices, by their targets. */
function placesOf({ domain }: ImageFacts): Map<string, string> {
  const local = domain.disks.filter(({ source }) => source.startsWith('/'));
  return new Map(local.map(({ target, source }) => [target, source]));
}

/** The snapshot a record names, after record, manifest and file were found to agree. */
async function agreeingSource(
  store: Store,
  image: ImageFile,
  facts: ImageFacts,
  record: StubRecord,
): Promise<SnapshotSource> {
  const manifest = await readManifest(store, record.snapshot).catch((error: unknown) => {
    throw notInStore(error, image.path, record);
  });
  return agreeWithStub(store, image, facts, record, manifest);
}

/** Of this guest only: that the starts of others cannot be noted now must not keep this one from resuming. */
async function settleOwnStarts(
  store: Store,
  { domain }: ImageFacts,
  { registry, host }: HydratePlace,
  { force }: HydrateOptions,
): Promise<void> {
  await settleStarts(store, registry, host, domain.uuid).catch((error: unknown) => {
    if (!force) throw error;
  });
}

/**
 * Disks are what was recorded of them, as far as the guest gets them again: of the memory of one of libvirt's
 * snapshots libvirt knows. What the guest's metadata accepts is accepted as well.
 */
export async function guardDisks(
  path: string,
  { disks }: Manifest,
  domain: ImageFacts['domain'],
  { libvirtSnapshots }: Pick<HydratePlace, 'libvirtSnapshots'>,
  options: Pick<HydrateOptions, 'acceptChangedDisks' | 'acceptUncomparedDisks' | 'disks' | 'signal'>,
): Promise<void> {
  if (options.acceptChangedDisks || domain.acceptChangedDisks) return;
  const now = options.disks ?? (await memorySnapshotOf(path, libvirtSnapshots))?.disks;
  const recorded = now === undefined ? disks : await disksAtRevert(disks, now);
  await checkDisks(recorded, {
    named: now === undefined ? domain.disks : withSources(domain.disks, now),
    acceptUncompared: options.acceptUncomparedDisks === true || domain.acceptUncomparedDisks,
    askLibvirt: false, // this runs in its hook
    signal: options.signal,
  });
}

async function guardClaim(
  store: Store,
  manifest: Manifest,
  host: Host,
  options: HydrateOptions,
): Promise<void> {
  if (options.force) return claimByForce(store, manifest, host);
  await refuseConsumed(store, manifest, host);
  await claimWaking(store, manifest, host);
}

async function lockWithin(image: ImageFile, { lockWaitMs, signal }: HydrateOptions): Promise<void> {
  const end = steadyMs() + lockWaitMs;
  for (;;) {
    try {
      return await image.lock();
    } catch (error) {
      if (!(error instanceof ParsError) || error.kind !== 'busy' || steadyMs() >= end) throw error;
    }
    await sleep(LOCK_POLL_MS);
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
