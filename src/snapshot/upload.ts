// SPDX-License-Identifier: Apache-2.0
/**
 * Stores an image: frames into packs, then the index, then the manifest, each proved (R20), the manifest
 * last.
 */
import { createHash } from 'node:crypto';
import { changesOfDisks } from '../disks/compare.js';
import { isComparable } from '../disks/guest-disks.js';
import type { RecordedDisk } from '../disks/record.js';
import { awaitedElsewhere, bestEffort } from '../system/best-effort.js';
import { ParsError } from '../errors.js';
import type { Host } from '../system/host.js';
import { encodeIndex, type IndexStripe } from './index-table.js';
import type { ImageFacts, InspectionFacts } from '../reader/inspection.js';
import type { Manifest, ManifestObject } from './manifest.js';
import { PackSet, type FinishedPack } from './pack-set.js';
import { FRAME_FILL, isExpendableKind, PAGE_CLASSES, type PageClass, FRAME_DISK } from '../page-classes.js';
import { storedClasses, type Policy } from '../policy/policy.js';
import type { PackSession } from '../reader/pack-session.js';
import type { Stripe } from '../reader/stripe.js';
import { encodeManifest, MANIFEST_NAME, nextSequence, objectPath } from './snapshots.js';
import { bytesKept } from '../stores/coding.js';
import { putProved } from '../stores/proved-object.js';
import type { Store, StoredObject } from '../stores/store.js';

export const UPLOAD_STEPS = ['packing', 'packed', 'indexed', 'committed'] as const;
export type UploadStep = (typeof UPLOAD_STEPS)[number];

/** What is known before the first byte is stored. */
export interface UploadPlan {
  snapshot: string;
  token: string;
  host: Host;
  policy: Policy;
  image: ImageFacts;
  /** What the guest's disks were before the image was compared with them. */
  disks: RecordedDisk[];
  imagePath: string;
  /** Hex; '' for an image that can have no stub. */
  headDigest: string;
  managedSave: boolean;
  memoryOf?: string | undefined;
  /** zstd level. */
  level: number;
  /** Waits until so many more bytes, over all copies, may be stored. */
  pace?: (bytes: number) => Promise<void>;
  signal?: AbortSignal;
  onStep?: (step: UploadStep) => void;
}

const INDEX_NAME = 'index';

/**
 * Stores what `session` packs, and proves it. On failure what was stored is left for the caller to remove.
 */
export async function upload(session: PackSession, store: Store, plan: UploadPlan): Promise<Manifest> {
  const { storeId } = await store.status();
  const sequence = await nextSequence(store, plan.image.domain.uuid);
  const { stripes, packs } = await storePacks(session, store, plan);
  const references = referencesIn(stripes, session);
  if (references !== undefined) await refuseChanges(plan);
  plan.onStep?.('packed');
  const index = await storeIndex(store, plan, stripes);
  plan.onStep?.('indexed');
  const objects = [...packs.map(packEntry), entryOf(INDEX_NAME, index.object)];
  const manifest: Manifest = {
    format: references === undefined ? formatOf(plan.image, session.inspection) : 4,
    snapshot: plan.snapshot,
    storeId,
    sequence,
    created: new Date().toISOString(),
    token: plan.token,
    owner: plan.host,
    domain: { uuid: plan.image.domain.uuid, name: plan.image.domain.name },
    image: imageOf(plan, session.inspection),
    guest: guestOf(session.inspection),
    disks: plan.disks,
    policy: plan.policy,
    classes: classesOf(session.inspection, stripes, plan.policy),
    ...(references && { references }),
    index: { name: INDEX_NAME, bytes: index.object.bytes, sha256: index.sha256 },
    objects,
    storedBytes: objects.reduce((sum, object) => sum + bytesKept(object), 0),
    revision: 0,
    droppedPages: 0,
  };
  await storeSmall(store, plan, MANIFEST_NAME, encodeManifest(manifest));
  await lookAgain(store, manifest);
  plan.onStep?.('committed');
  return manifest;
}

async function storePacks(
  session: PackSession,
  store: Store,
  plan: UploadPlan,
): Promise<{ stripes: IndexStripe[]; packs: FinishedPack[] }> {
  const packs = new PackSet(packStore(store, plan), {
    copiesOf: (kind) => copiesOf(kind, plan.policy),
    isCritical: (kind) => !isExpendableKind(kind),
  });
  // The stripe before is still on its way into the store while the next is being read.
  let before: Promise<void> = Promise.resolve();
  try {
    const stripes: IndexStripe[] = [];
    for await (const stripe of session.pack(storedClasses(plan.policy), plan.level)) {
      plan.signal?.throwIfAborted();
      await before;
      if (stripes.length === 0) plan.onStep?.('packing');
      await plan.pace?.(costOf(stripe, plan.policy));
      const entry: IndexStripe = {
        imageOffset: stripe.imageOffset,
        imageBytes: stripe.imageBytes,
        frames: [],
      };
      stripes.push(entry);
      before = addFrames(packs, stripe, entry);
      awaitedElsewhere(before);
    }
    await before;
    return { stripes, packs: await packs.finish() };
  } catch (error) {
    await bestEffort(before);
    await packs.abort();
    throw error;
  }
}

async function addFrames(packs: PackSet, stripe: Stripe, entry: IndexStripe): Promise<void> {
  for (const frame of stripe.frames) entry.frames.push(await packs.add(frame));
}

function packStore(store: Store, plan: UploadPlan): ConstructorParameters<typeof PackSet>[0] {
  return {
    create: (pack, copies, critical) => {
      const coding = critical ? plan.policy.coding : undefined;
      return store.create(
        objectPath(plan.snapshot, pack),
        coding === undefined ? { copies, critical } : { copies: 1, critical, coding },
      );
    },
    verify: (object) => store.verify(object),
  };
}

async function storeIndex(
  store: Store,
  plan: UploadPlan,
  stripes: IndexStripe[],
): Promise<{ object: StoredObject; sha256: string }> {
  const data = encodeIndex(stripes);
  const object = await storeSmall(store, plan, INDEX_NAME, data);
  return { object, sha256: createHash('sha256').update(data).digest('hex') };
}

async function storeSmall(store: Store, plan: UploadPlan, name: string, data: Buffer): Promise<StoredObject> {
  const terms = { copies: plan.policy.criticalCopies, critical: true };
  return putProved(store, objectPath(plan.snapshot, name), terms, data);
}

/** What is on disks in place of the store; undefined when nothing is. */
function referencesIn(stripes: readonly IndexStripe[], { references }: PackSession): Manifest['references'] {
  const frames = stripes.flatMap((stripe) => stripe.frames.filter(({ kind }) => kind === FRAME_DISK));
  if (frames.length === 0 || references === null) return undefined;
  return { pages: frames.reduce((sum, { pages }) => sum + pages, 0), classes: references.equal };
}

/** What was compared must still be what the guest will find. */
async function refuseChanges({ disks, signal }: UploadPlan): Promise<void> {
  const changes = await changesOfDisks(disks.filter(isComparable), { askLibvirt: true, signal });
  if (changes.length === 0) return;
  throw new ParsError(
    'busy',
    `a disk of the guest changed while its image was stored: ${changes.join('; ')}`,
    { hint: 'has the guest been started, or its disk mounted? The image is as it was; offload it again' },
  );
}

function formatOf({ rawBytes }: ImageFacts, inspection: InspectionFacts | null): Manifest['format'] {
  if (inspection && inspection.stream.mappedBlocks.length > 0) return 3;
  return rawBytes === undefined ? 1 : 2;
}

function imageOf(plan: UploadPlan, inspection: InspectionFacts | null): Manifest['image'] {
  const { bytes, rawBytes, format, wasRunning, streamOffset, headEnd } = plan.image;
  const mappedBlocks = inspection?.stream.mappedBlocks ?? [];
  return {
    path: plan.imagePath,
    bytes,
    ...(rawBytes !== undefined && { rawBytes }),
    ...(mappedBlocks.length > 0 && { mappedBlocks }),
    format,
    wasRunning,
    streamOffset,
    headEnd,
    headDigest: plan.headDigest,
    managedSave: plan.managedSave,
    ...(plan.memoryOf !== undefined && { memoryOf: plan.memoryOf }),
  };
}

function guestOf(inspection: InspectionFacts | null): Manifest['guest'] {
  return (
    inspection?.guest ?? {
      introspected: false,
      kernel: null,
      reason: 'the image was stored whole, without a look inside',
    }
  );
}

function classesOf(
  inspection: InspectionFacts | null,
  stripes: readonly IndexStripe[],
  policy: Policy,
): Manifest['classes'] {
  const stored = new Array<number>(PAGE_CLASSES.length).fill(0);
  for (const frame of stripes.flatMap((stripe) => stripe.frames)) {
    if (frame.kind < FRAME_FILL) stored[frame.kind]! += frame.bytes;
  }
  const entry = (name: PageClass, kind: number): Manifest['classes'][PageClass] => {
    const { pages, payloadPages } = inspection?.classes[name] ?? { pages: 0, payloadPages: 0 };
    const coding = isExpendableKind(kind) ? undefined : policy.coding;
    return {
      pages,
      payloadPages,
      storedBytes: bytesKept({ bytes: stored[kind]!, copies: policy.copies[name], coding }),
    };
  };
  return Object.fromEntries(
    PAGE_CLASSES.map((name, kind) => [name, entry(name, kind)]),
  ) as Manifest['classes'];
}

function packEntry({ pack, object }: FinishedPack): ManifestObject {
  return entryOf(pack, object);
}

function entryOf(name: string, { bytes, xxh3, copies, coding }: StoredObject): ManifestObject {
  return { name, bytes, xxh3, copies, ...(coding !== undefined && { coding }) };
}

/**
 * An upload may take so long that somebody's prune took its first files for leftovers: whoever commits sees
 * that all are there after the last.
 */
async function lookAgain(store: Store, { snapshot, objects }: Manifest): Promise<void> {
  for (const object of objects) {
    const { good } = await store.inspect(
      { ...object, name: objectPath(snapshot, object.name) },
      { read: false },
    );
    if (good > 0) continue;
    throw new ParsError(
      'busy',
      `${object.name} of ${snapshot} was removed from the store while the rest was stored`,
      { hint: 'did somebody prune? Offload it again' },
    );
  }
}

function costOf({ frames }: Stripe, policy: Policy): number {
  return frames.reduce((sum, { kind, data }) => sum + (data?.length ?? 0) * copiesOf(kind, policy), 0);
}

function copiesOf(kind: number, policy: Policy): number {
  const pageClass = PAGE_CLASSES[kind];
  return pageClass === undefined ? policy.criticalCopies : policy.copies[pageClass];
}

/** Throws 'unreachable' before anything is read when the store cannot hold what the policy asks for. */
export async function refuseThinStore(store: Store, policy: Policy): Promise<void> {
  const needed = Math.max(policy.criticalCopies, ...Object.values(policy.copies));
  if (policy.coding !== undefined) await refuseCoding(store, policy.coding);
  const { usablePlaces, places, warnings } = await store.status();
  if (usablePlaces >= needed) return;
  throw new ParsError(
    'unreachable',
    `policy ${policy.name} keeps ${needed} copies, but only ${usablePlaces} of ${places} places of `
      + `${store.url} can be used${warnings.length > 0 ? `: ${warnings.join('; ')}` : ''}`,
    { hint: 'bring the others back (see: pars store status), or choose a policy with fewer copies' },
  );
}

async function refuseCoding(store: Store, coding: string): Promise<void> {
  if (store.refuseCoding) return store.refuseCoding(coding);
  throw new ParsError(
    'refused',
    `${store.url} keeps copies and knows no erasure coding, but the policy asks for ${coding}`,
    { hint: 'take "critical" out of the policy, or use a store in HDFS' },
  );
}
