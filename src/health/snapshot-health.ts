// SPDX-License-Identifier: Apache-2.0
/**
 * What is left of a snapshot: every object looked at, and where no copy is whole, every frame of it. Reads,
 * changes nothing; src/health/repair.ts acts on what is found here.
 */
import { ParsError } from '../errors.js';
import { isStored, packName, type IndexFrame, type IndexStripe } from '../snapshot/index-table.js';
import type { Manifest } from '../snapshot/manifest.js';
import { decodeManifest } from '../snapshot/manifest-codec.js';
import { native } from '../native.js';
import { describeDispute, disputedClaim } from './disputed.js';
import { isComplete } from './removed.js';
import {
  EXPENDABLE,
  FRAME_RECOVERY,
  isExpendableKind,
  PAGE_CLASSES,
  type PageClass,
} from '../page-classes.js';
import type { OnProgress } from '../progress.js';
import { isLoss, SnapshotSource } from '../snapshot/snapshot-source.js';
import { MANIFEST_NAME, objectPath, readManifestBytes } from '../snapshot/snapshots.js';
import { isStateRecord } from '../snapshot/state-record.js';
import type { ObjectHealth, Store, StoredObject } from '../stores/store.js';

/** What an object is for. */
export type ObjectRole = PageClass | 'skeleton' | 'index' | 'manifest' | 'state';

/**
 * 'intact': as many good copies as there should be. 'under-replicated': every byte is available, but too few
 * copies are whole. 'unreachable': nothing is known to be lost, but not all is available now. 'lost': some of
 * it is in no copy.
 */
export type Condition = 'intact' | 'under-replicated' | 'unreachable' | 'lost';

export interface ObjectFinding {
  /** Its name in the snapshot. */
  name: string;
  role: ObjectRole;
  /** As the store knows it. */
  object: StoredObject;
  critical: boolean;
  condition: Condition;
  health: ObjectHealth;
  /** Every byte was read, not only looked for. */
  read: boolean;
  /** Frames that are in no copy. */
  lost: IndexFrame[];
}

export interface SnapshotHealth {
  manifest: Manifest;
  /** Null when no good copy of the index is available. */
  stripes: readonly IndexStripe[] | null;
  findings: ObjectFinding[];
}

export interface HealthOptions {
  /** Share of the data that is read, 0 to 100; of the rest only presence and length are looked at. */
  percent: number;
  signal?: AbortSignal;
  onProgress?: OnProgress;
}

/** Looks at a committed snapshot. Throws when its manifest cannot be read. */
export async function examine(
  store: Store,
  snapshot: string,
  options: HealthOptions,
): Promise<SnapshotHealth> {
  const bytes = await readManifestBytes(store, snapshot);
  const manifest = decodeManifest(bytes, snapshot);
  return new Examination(store, manifest, options).run(bytes);
}

class Examination {
  readonly #store: Store;
  readonly #manifest: Manifest;
  readonly #options: HealthOptions;
  #source: SnapshotSource | null = null;

  constructor(store: Store, manifest: Manifest, options: HealthOptions) {
    this.#store = store;
    this.#manifest = manifest;
    this.#options = options;
  }

  async run(manifestBytes: Buffer): Promise<SnapshotHealth> {
    const findings = [await this.#small(MANIFEST_NAME, 'manifest', manifestBytes)];
    for (const { name, data } of await this.#states()) {
      const finding = await this.#small(name, 'state', data);
      if (!(await this.#isTakenBack(finding))) findings.push(await this.#withDispute(finding));
    }
    this.#source = await SnapshotSource.open(this.#store, this.#manifest).catch((error: unknown) => {
      if (error instanceof ParsError && error.kind !== 'internal') return null;
      throw error;
    });
    findings.push(...(await this.#objects()));
    return { manifest: this.#manifest, stripes: this.#source?.stripes ?? null, findings };
  }

  /**
   * An object of which the manifest does not speak: what was read of it is what its copies must be. As many
   * as of critical data, but of a state no more than the store makes of one.
   */
  #small(name: string, role: 'manifest' | 'state', data: Buffer): Promise<ObjectFinding> {
    const hash = native().newHash();
    hash.update(data);
    const { criticalCopies } = this.#manifest.policy;
    const given = role === 'state' ? (this.#store.stateCopies ?? criticalCopies) : criticalCopies;
    const object = {
      name: objectPath(this.#manifest.snapshot, name),
      bytes: data.length,
      xxh3: hash.digest(),
      copies: Math.min(criticalCopies, given),
    };
    return this.#finding(name, role, object, true);
  }

  /** One of which no copy makes sense does not end the verification. */
  async #states(): Promise<{ name: string; data: Buffer }[]> {
    const sense = (copy: Buffer): number => (isStateRecord(copy) ? 1 : 0);
    const read = async (name: string): Promise<{ name: string; data: Buffer } | null> => {
      try {
        const path = objectPath(this.#manifest.snapshot, name);
        return { name, data: await this.#store.readWhole(path, () => true, sense) };
      } catch (error) {
        const isMissing = error instanceof ParsError && error.kind === 'missing';
        if (isMissing && !(await this.#stateNames()).includes(name)) return null;
        throw error;
      }
    };
    const states = await Promise.all((await this.#stateNames()).map(read));
    return states.filter((state) => state !== null);
  }

  async #stateNames(): Promise<string[]> {
    return (await this.#store.list(this.#manifest.snapshot)).filter((name) => name.startsWith('state-'));
  }

  /** A claim goes with the start that failed. In a place that is missing it may be still. */
  async #isTakenBack({ name, condition }: ObjectFinding): Promise<boolean> {
    if (condition === 'intact' || (await this.#stateNames()).includes(name)) return false;
    return isComplete(this.#store);
  }

  /** A copy that differs because another host wrote it has not decayed. */
  async #withDispute(finding: ObjectFinding): Promise<ObjectFinding> {
    const { faults } = finding.health;
    if (faults.every(({ fault }) => fault !== 'corrupt')) return finding;
    const records = await disputedClaim(this.#store, this.#manifest.snapshot, finding.name).catch(
      (error: unknown) => {
        if (error instanceof ParsError && error.kind !== 'internal') return null;
        throw error;
      },
    );
    if (records === null) return finding;
    const detail = describeDispute(finding.name, records);
    const said = faults.map((one) => (one.fault === 'corrupt' ? { ...one, detail } : one));
    return { ...finding, health: { ...finding.health, faults: said } };
  }

  async #objects(): Promise<ObjectFinding[]> {
    const findings: ObjectFinding[] = [];
    const { objects, snapshot } = this.#manifest;
    const total = objects.reduce((sum, { bytes }) => sum + bytes, 0);
    const isDue = sampler(this.#options.percent);
    let done = 0;
    for (const object of objects) {
      this.#options.signal?.throwIfAborted();
      const role = roleOf(object.name);
      findings.push(
        await this.#finding(
          object.name,
          role,
          { ...object, name: objectPath(snapshot, object.name) },
          role === 'index' || isDue(),
        ),
      );
      done += object.bytes;
      this.#options.onProgress?.({ phase: 'verifying', done, total, unit: 'bytes' });
    }
    return findings;
  }

  async #finding(
    name: string,
    role: ObjectRole,
    object: StoredObject,
    read: boolean,
  ): Promise<ObjectFinding> {
    const health = await this.#store.inspect(object, { read });
    const { condition, lost } =
      health.good > 0 ? { condition: conditionOf(health), lost: [] } : await this.#withoutCopy(name, health);
    return {
      name,
      role,
      object,
      critical: !EXPENDABLE.has(role as PageClass),
      condition,
      health,
      read,
      lost,
    };
  }

  /** No copy is whole. What matters is whether each frame is whole in one of them. */
  async #withoutCopy(
    name: string,
    health: ObjectHealth,
  ): Promise<{ condition: Condition; lost: IndexFrame[] }> {
    let away = health.faults.some(({ fault }) => fault === 'unreachable');
    const frames = framesOf(this.#source?.stripes ?? [], name);
    if (frames.length === 0) return { condition: away ? 'unreachable' : 'lost', lost: [] };
    const lost: IndexFrame[] = [];
    for (const frame of frames) {
      this.#options.signal?.throwIfAborted();
      const loss = await this.#lossOf(frame);
      if (loss !== null) lost.push(frame);
      away ||= loss === 'unreachable';
    }
    return lost.length === 0
      ? { condition: 'under-replicated', lost }
      : away
        ? { condition: 'unreachable', lost: [] }
        : { condition: 'lost', lost };
  }

  /** Null for a frame that is whole; one whose servers do not answer is not given up. */
  async #lossOf(frame: IndexFrame): Promise<'lost' | 'unreachable' | null> {
    try {
      await this.#source?.read(frame);
      return null;
    } catch (error) {
      if (isLoss(error)) return error.kind === 'unreachable' ? 'unreachable' : 'lost';
      throw error;
    }
  }
}

/** The stored frames of a pack, in the order in which they lie in it. */
export function framesOf(stripes: readonly IndexStripe[], pack: string): IndexFrame[] {
  const frames = stripes.flatMap((stripe) =>
    stripe.frames.filter((frame) => isStored(frame) && packName(frame.kind, frame.pack) === pack),
  );
  return frames.sort((a, b) => a.offset - b.offset);
}

/**
 * Whether a guest can do without a frame: its class is expendable, and what must then be told to the guest is
 * stored.
 */
export function canLose(frame: IndexFrame, stripe: IndexStripe): boolean {
  if (!isExpendableKind(frame.kind)) return false;
  return PAGE_CLASSES[frame.kind] === 'free' || stripe.frames.some(({ kind }) => kind === FRAME_RECOVERY);
}

function conditionOf({ good, wanted, faults }: ObjectHealth): Condition {
  return good >= wanted && faults.every(({ fault }) => fault !== 'corrupt') ? 'intact' : 'under-replicated';
}

function roleOf(name: string): ObjectRole {
  const stem = name.replace(/\.\d+$/, '');
  if (stem === 'skeleton') return stem;
  return PAGE_CLASSES.find((pageClass) => pageClass === stem) ?? 'index';
}

/** True for `percent` of its calls, evenly, from a random beginning: runs of 10 % see all after a while. */
function sampler(percent: number): () => boolean {
  let sum = Math.random() * 100;
  return () => {
    sum += percent;
    if (sum < 100) return false;
    sum -= 100;
    return true;
  };
}
