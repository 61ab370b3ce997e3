// SPDX-License-Identifier: Apache-2.0
/**
 * `pars offload`: stores an image, proves it, and leaves a stub in its place. The image is whole until the
 * store holds everything, and a stub from then on; what a killed or overtaken offload leaves in the store is
 * no snapshot, and goes away.
 */
import { randomBytes } from 'node:crypto';
import { type RecordedDisk, uncomparedIn } from '../disks/record.js';
import { bestEffort } from '../system/best-effort.js';
import { shellWord } from '../system/shell-word.js';
import { realPathOf } from '../system/real-path.js';
import { ParsError } from '../errors.js';
import { isComplete } from '../health/removed.js';
import { refuseUnfit } from '../image/fit-for-stub.js';
import { ImageFile, type ImageIdentity } from '../image/image-file.js';
import type { ImageFacts } from '../reader/inspection.js';
import { isCompressed } from '../image/save-format.js';
import { preambleDigest, preambleOf } from '../image/stub-preamble.js';
import {
  finishStub,
  type LeaseOptions,
  makeStub,
  type MakeStubOptions,
  type StubOutcome,
} from '../image/make-stub.js';
import type { Manifest } from '../snapshot/manifest.js';
import { PAGE_CLASSES, type PageClass } from '../page-classes.js';
import type { Policy } from '../policy/policy.js';
import type { OnProgress } from '../progress.js';
import { ProbeMemory } from '../image/probe-memory.js';
import { type MemorySnapshot, memorySnapshotOf } from '../libvirt/memory-snapshots.js';
import { becameMemory, proveCritical, refuseUnrevertable } from './memory-file.js';
import { markState, settleStarts, unclaim } from './claims.js';
import { refuseReadFirst } from './compressed-save.js';
import { isStoredBy, snapshotOfRefilled } from './refilled-image.js';
import {
  findSnapshot,
  newSnapshotName,
  readManifest,
  readState,
  refuseRemoved,
  removeSnapshot,
} from '../snapshot/snapshots.js';
import { disksOf, policyFor } from './offload-terms.js';
import { agreeWithStub, openStub } from './stub-check.js';
import { encodeStub, type StubRecord, takesRoom } from '../image/stub.js';
import { knownStub, type KnownStub, type StubRegistry } from '../image/stub-registry.js';
import { refuseThinStore, upload } from '../snapshot/upload.js';
import { lookForOffload } from './offload-look.js';
import type { Offloaded, OffloadOptions, OffloadPlace } from './offload-request.js';

/** Offloads the image at `path`. */
export async function offload(
  path: string,
  place: OffloadPlace,
  options: OffloadOptions,
): Promise<Offloaded> {
  const image = await ImageFile.open(await realPathOf(path), { durable: true });
  try {
    await image.lock();
    options.onStep?.('locked');
    await place.registry.changes.repair(image);
    return await new Offload(image, place, options).run();
  } finally {
    await image.close();
  }
}

class Offload {
  readonly #image: ImageFile;
  readonly #place: OffloadPlace;
  readonly #options: OffloadOptions;
  readonly #probes: ProbeMemory;
  #memory: MemorySnapshot | null = null;

  constructor(image: ImageFile, place: OffloadPlace, options: OffloadOptions) {
    this.#image = image;
    this.#place = place;
    this.#options = options;
    this.#probes = place.probes ?? new ProbeMemory();
  }

  async run(): Promise<Offloaded> {
    const identity = await this.#image.identity();
    const facts = await this.#probes.probe(this.#image, this.#readerOptions());
    // Of this guest only, whose new snapshot the note of an earlier start would consume. The worker sees to
    // the others.
    await settleStarts(this.#place.store, this.#place.registry, this.#place.host, facts.domain.uuid);
    if (facts.stubRecord !== null) return this.#finishEarlier(facts);
    this.#refuseUnwanted(facts);
    if (!this.#options.keepLocal) await refuseUnfit(this.#image);
    this.#memory = await this.#memorySnapshot(facts, identity);
    const earlier = await this.#earlier(facts);
    const refilled = await this.#refilledFrom(facts, identity, earlier);
    if (refilled !== null) return this.#stubAgain(refilled, identity);
    const disks = await disksOf(facts, this.#memory, this.#options.signal);
    const uncompared = uncomparedIn(disks);
    const policy = policyFor(facts, disks, this.#options);
    await refuseThinStore(this.#place.store, policy);
    for (const stub of earlier) await this.#dropFragment(stub);
    const token = randomBytes(16).toString('hex');
    const snapshot = newSnapshotName(facts.domain.uuid);
    const known = {
      image: this.#image.path,
      snapshot,
      token,
      domainUuid: facts.domain.uuid,
      managedSave: this.#options.managedSave,
      imageVersion: versionOf(identity),
      memoryOf: this.#memory?.name,
      ...(uncompared.length > 0 && { uncomparedDisks: uncompared }),
    };
    if (!this.#options.keepLocal) await this.#place.registry.add(known);
    let outcome: StubOutcome | null = null;
    try {
      const manifest = await this.#store(facts, disks, policy, snapshot, token);
      if (this.#options.keepLocal) return this.#result(manifest, null);
      outcome = await this.#becomeStub(manifest, identity);
      if (outcome.state === 'whole') throw outcome.error;
      const result = await this.#stubbed(manifest, outcome);
      for (const stub of earlier) await bestEffort(this.#dropAbandoned(stub, identity));
      return result;
    } catch (error) {
      if (outcome?.state !== 'stub') await this.#withdraw(known, error);
      throw error;
    } finally {
      this.#options.onStep?.('done');
    }
  }

  /** The snapshot that the image was refilled from, if it is that still and is what would be stored now. */
  #refilledFrom(facts: ImageFacts, identity: ImageIdentity, stubs: KnownStub[]): Promise<Manifest | null> {
    const { keepLocal, managedSave, signal } = this.#options;
    const isWanted = (manifest: Manifest): boolean => {
      const policy = policyFor(facts, manifest.disks, this.#options);
      const { image, references } = manifest;
      const isSameKind = image.managedSave === managedSave && image.memoryOf === this.#memory?.name;
      return (
        isSameKind
        && isStoredBy(manifest, policy)
        && (references === undefined || this.#usesDisks(facts, policy))
      );
    };
    const look = { facts, identity, stubs: keepLocal ? [] : stubs, isWanted, ...(signal && { signal }) };
    return snapshotOfRefilled(this.#image, look, this.#place);
  }

  /** Nothing is stored, so nothing is withdrawn if the image stays whole. */
  async #stubAgain(manifest: Manifest, identity: ImageIdentity): Promise<Offloaded> {
    this.#options.onStep?.('found');
    const outcome = await this.#becomeStub(manifest, identity);
    if (outcome.state === 'whole') throw outcome.error;
    const result = await this.#stubbed(manifest, outcome);
    await this.#place.registry.add(knownStub(this.#image.path, this.#recordOf(manifest), manifest));
    await bestEffort(unclaim(this.#place.store, manifest, this.#place.host));
    this.#options.onStep?.('done');
    return { ...result, storedBytes: 0, storedBefore: true };
  }

  /** The snapshot of libvirt's whose memory the image is. */
  async #memorySnapshot({ format }: ImageFacts, identity: ImageIdentity): Promise<MemorySnapshot | null> {
    const found = await memorySnapshotOf(this.#image.path, this.#place.libvirtSnapshots);
    const { keepLocal, force } = this.#options;
    if (keepLocal || force) return found;
    if (found === null) await refuseReadFirst(this.#image.path, format);
    else await refuseUnrevertable(this.#image.path, format, identity, found);
    return found;
  }

  #refuseUnwanted({ domain }: ImageFacts): void {
    if (!domain.optOut || this.#options.force) return;
    throw new ParsError('refused', `${domain.name} opted out (offload="no" in its metadata)`, {
      hint: 'to offload this one all the same: --force',
    });
  }

  /**
   * Only of managed saves, which libvirt removes when the guest starts: whose disk is as it was. Any other
   * image may be older than its disk is, a copy beside the image outlives it, and some guests' disks are
   * expected to change: those must stand by themselves.
   */
  #usesDisks({ domain }: ImageFacts, policy: Policy): boolean {
    const { diskReferences, managedSave, keepLocal } = this.#options;
    const isWanted = policy.disk === true && diskReferences === true && domain.diskReferences;
    const isAtRest = managedSave && this.#memory === null && !keepLocal && !domain.acceptChangedDisks;
    return isWanted && isAtRest;
  }

  /** Stores and proves the whole image. */
  async #store(
    facts: ImageFacts,
    disks: RecordedDisk[],
    policy: Policy,
    snapshot: string,
    token: string,
  ): Promise<Manifest> {
    const compare = this.#usesDisks(facts, policy) ? disks : [];
    const look = { keepLocal: this.#options.keepLocal, compare, reader: this.#readerOptions() };
    const { session, image } = await lookForOffload(this.#image, facts, look);
    try {
      this.#options.onStep?.('inspected');
      return await upload(session, this.#place.store, {
        snapshot,
        token,
        policy,
        disks,
        host: this.#place.host,
        image,
        imagePath: this.#image.path,
        managedSave: this.#options.managedSave,
        memoryOf: this.#memory?.name,
        headDigest: await this.#headDigest(image),
        level: this.#options.level,
        ...(this.#options.pace && { pace: this.#options.pace }),
        ...(this.#options.signal && { signal: this.#options.signal }),
        ...(this.#options.onStep && { onStep: this.#options.onStep }),
      });
    } finally {
      await session.close();
    }
  }

  async #headDigest({ format, rawBytes, streamOffset, headEnd }: ImageFacts): Promise<string> {
    if (rawBytes !== undefined && isCompressed(format)) return preambleDigest(format);
    return headEnd === 0 ? '' : this.#image.digest(streamOffset, headEnd);
  }

  async #becomeStub(manifest: Manifest, identity: ImageIdentity): Promise<StubOutcome> {
    const record = this.#recordOf(manifest);
    if (record.offset === 0 || record.offset + encodeStub(record).length > record.imageBytes) {
      return {
        state: 'whole',
        error: new ParsError('refused', `${this.#image.path} is too short to become a stub`, {
          hint: 'keep it as it is, or store a copy with --keep-local',
        }),
      };
    }
    if (this.#memory !== null) await proveCritical(this.#place.store, manifest, this.#options.signal);
    // libvirt writes the metadata of a snapshot after its memory.
    else if ((await memorySnapshotOf(this.#image.path, this.#place.libvirtSnapshots)) !== null)
      throw becameMemory(this.#image.path);
    // R25: a guest that was started meanwhile has left this image behind, whatever became of the file. The
    // memory of a snapshot is nobody's to leave behind: a revert may read it at any time.
    else if (await this.#place.registry.startNoted(manifest.domain.uuid)) {
      return {
        state: 'whole',
        error: new ParsError('busy', `${manifest.domain.name} was started while its image was being stored`),
      };
    }
    const { format } = manifest.image;
    return makeStub(this.#image, identity, record, {
      ...this.#leaseOptions(),
      changes: this.#place.registry.changes,
      refuseRemoved: () => refuseRemoved(this.#place.store, manifest.snapshot),
      ...(isCompressed(format) && { preamble: preambleOf(format) }),
    });
  }

  #recordOf({ token, snapshot, domain, image }: Manifest): StubRecord {
    return {
      token,
      snapshot,
      domainUuid: domain.uuid,
      imageBytes: image.bytes,
      offset: image.headEnd,
      headDigest: image.headDigest,
      storeUrl: this.#place.store.url,
    };
  }

  async #stubbed(manifest: Manifest, outcome: StubOutcome & { state: 'stub' }): Promise<Offloaded> {
    await this.#probes.noteStub(this.#image);
    await markState(this.#place.store, manifest, 'stubbed', this.#place.host).catch((error: unknown) => {
      throw onlyNotNoted(error, this.#image.path, manifest.snapshot);
    });
    if (outcome.error !== null) throw outcome.error;
    return this.#result(manifest, outcome.freedBytes);
  }

  /** The image was left whole: what was stored for it must not stay as if it were somebody's memory. */
  async #withdraw(known: Parameters<StubRegistry['add']>[0], cause: unknown): Promise<void> {
    try {
      await removeSnapshot(this.#place.store, known.snapshot);
      await this.#place.registry.remove(known);
    } catch (error) {
      if (cause instanceof Error && cause.cause === undefined) cause.cause = error;
    }
  }

  /** What earlier offloads of this image noted. */
  async #earlier({ domain }: ImageFacts): Promise<KnownStub[]> {
    return (await this.#place.registry.all()).filter(
      (stub) => stub.image === this.#image.path && stub.domainUuid === domain.uuid,
    );
  }

  /**
   * What an offload left that was killed before there was a manifest: nobody's memory. In its first pack
   * there is no object, but there may be a temporary file.
   */
  async #dropFragment(stub: KnownStub): Promise<void> {
    const { store } = this.#place;
    const there = (await store.list(stub.snapshot)).length > 0;
    if (there && (await findSnapshot(store, stub.snapshot)).condition !== 'incomplete') return;
    // Its manifest may lie where nobody can look now, and the stub of that snapshot elsewhere.
    if (!(await isComplete(store))) return;
    const removal = removeSnapshot(store, stub.snapshot);
    await (there ? removal : bestEffort(removal));
    await this.#place.registry.remove(stub);
  }

  /**
   * What an offload left that was killed between manifest and stub. Only once this one has its own snapshot,
   * and only if the image is the very file in the very state that it was: any other may be a new save, and
   * the stub of that snapshot lie elsewhere by now.
   */
  async #dropAbandoned(stub: KnownStub, identity: ImageIdentity): Promise<void> {
    if (stub.imageVersion !== versionOf(identity)) return;
    const entry = await findSnapshot(this.#place.store, stub.snapshot);
    if (entry.condition !== 'whole' || entry.state !== 'committed') return;
    await removeSnapshot(this.#place.store, stub.snapshot);
    await this.#place.registry.remove(stub);
  }

  /**
   * The image is a stub already. One whose offload or hydration was killed gives back the room it still
   * takes.
   */
  async #finishEarlier(facts: ImageFacts): Promise<Offloaded> {
    const record = openStub(facts, this.#image.path);
    const manifest = await readManifest(this.#place.store, record.snapshot);
    await agreeWithStub(this.#place.store, this.#image, facts, record, manifest);
    await this.#place.registry.add(knownStub(this.#image.path, record, manifest));
    if ((await readState(this.#place.store, record.snapshot)) === 'committed')
      await markState(this.#place.store, manifest, 'stubbed', this.#place.host);
    await bestEffort(unclaim(this.#place.store, manifest, this.#place.host));
    const whole =
      facts.bytes === record.imageBytes && !takesRoom(await this.#image.allocatedBytes(), record.offset);
    const freedBytes = whole ? 0 : await finishStub(this.#image, record, this.#leaseOptions());
    return { ...this.#result(manifest, freedBytes), storedBytes: 0, alreadyStub: true };
  }

  #result(manifest: Manifest, freedBytes: number | null): Offloaded {
    const { snapshot, storedBytes, guest, policy, domain, image, classes, disks, references } = manifest;
    const classBytes = Object.fromEntries(
      PAGE_CLASSES.map((name) => [name, classes[name].storedBytes]),
    ) as Record<PageClass, number>;
    return {
      snapshot,
      image: this.#image.path,
      storedBytes,
      freedBytes: freedBytes ?? 0,
      alreadyStub: false,
      storedBefore: false,
      stub: freedBytes !== null,
      domain: domain.name,
      domainUuid: domain.uuid,
      imageBytes: image.bytes,
      policy: policy.name,
      criticalCopies: policy.criticalCopies,
      classBytes,
      diskPages: references?.pages ?? 0,
      introspected: guest.introspected,
      reason: guest.reason,
      uncomparedDisks: uncomparedIn(disks),
    };
  }

  #readerOptions(): { signal?: AbortSignal; onProgress?: OnProgress } {
    const { signal, onProgress } = this.#options;
    return { ...(signal && { signal }), ...(onProgress && { onProgress }) };
  }

  #leaseOptions(): LeaseOptions & Pick<MakeStubOptions, 'onStep'> {
    const { signal, leaseWaitMs, onStep } = this.#options;
    return { leaseWaitMs, ...(signal && { signal }), ...(onStep && { onStep }) };
  }
}

/** Whatever is done to a file, and whatever file takes its place, this is another. */
function versionOf({ dev, ino, ctimeNs }: ImageIdentity): string {
  return `${dev}:${ino}:${ctimeNs}`;
}

function onlyNotNoted(error: unknown, path: string, snapshot: string): unknown {
  if (!(error instanceof ParsError)) return error;
  return new ParsError(
    error.kind,
    `${path} is a stub of ${snapshot} now, but the store could not be told so: ${error.message}`,
    {
      hint: `nothing is lost, and the guest can start; to note it later: pars offload ${shellWord(path)}`,
      cause: error,
    },
  );
}
