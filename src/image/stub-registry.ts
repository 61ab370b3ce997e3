// SPDX-License-Identifier: Apache-2.0
/**
 * The stubs this host has made, one file each: STATE/stubs/UUID.TOKEN.json. The hook tells by these names
 * alone, without Node, whether a guest that starts concerns Pars. A stub is still known by its
 * record; this is a list, not the proof.
 */
import { rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ParsError } from '../errors.js';
import { parseJson } from '../system/json-text.js';
import { bestEffort } from '../system/best-effort.js';
import { cannotLook, ifThere, isMissing, namesIn, readIfThere, statIfThere } from '../system/absence.js';
import { writeAtomically } from '../system/atomic-file.js';
import { uncomparedIn } from '../disks/record.js';
import { UUID_PATTERN } from '../system/uuid.js';
import type { Manifest } from '../snapshot/manifest.js';
import { RecordChanges } from './record-change.js';
import type { StubRecord } from './stub.js';

export interface KnownStub {
  image: string;
  snapshot: string;
  token: string;
  domainUuid: string;
  managedSave: boolean;
  /**
   * Which file, and which state of it, an offload began with: while the image is that, it never became the
   * stub.
   */
  imageVersion?: string;
  /** The snapshot of libvirt's whose memory it is: a revert reads it, and may do so many times. */
  memoryOf?: string | undefined;
  /** Disks that its start will not be able to compare, and why; none: left out. */
  uncomparedDisks?: string[] | undefined;
  /** Its guest was started otherwise since, and has moved on, but the stub is still there. */
  consumed?: boolean | undefined;
  /**
   * Which file a refill left in its place (`fileVersion`): while it is that, it is what the snapshot holds.
   */
  refilled?: string | undefined;
}

/** What is remembered of the stub `record` at `path`. */
export function knownStub(path: string, record: StubRecord, { image, disks }: Manifest): KnownStub {
  const { snapshot, token, domainUuid } = record;
  const uncompared = uncomparedIn(disks);
  return {
    image: path,
    snapshot,
    token,
    domainUuid,
    managedSave: image.managedSave,
    memoryOf: image.memoryOf,
    uncomparedDisks: uncompared.length > 0 ? uncompared : undefined,
  };
}

const NAME = /^([0-9a-f-]{36})\.([0-9a-f]{32})\.json$/;
const STARTED = new RegExp(`^(${UUID_PATTERN})(\\.[0-9]+)?$`);

export class StubRegistry {
  readonly changes: RecordChanges;
  readonly #stubs: string;
  readonly #started: string;
  readonly #discarded: string;

  constructor(stateDir: string) {
    this.changes = new RecordChanges(stateDir);
    this.#stubs = join(stateDir, 'stubs');
    this.#started = join(stateDir, 'started');
    this.#discarded = join(stateDir, 'discarded');
  }

  async add(known: KnownStub): Promise<void> {
    const {
      image,
      snapshot,
      token,
      domainUuid,
      managedSave,
      imageVersion,
      memoryOf,
      uncomparedDisks,
      consumed,
      refilled,
    } = known;
    const stub: KnownStub = {
      image,
      snapshot,
      token,
      domainUuid,
      managedSave,
      ...(imageVersion !== undefined && { imageVersion }),
      ...(memoryOf !== undefined && { memoryOf }),
      ...(uncomparedDisks !== undefined && { uncomparedDisks }),
      ...(consumed === true && { consumed }),
      ...(refilled !== undefined && { refilled }),
    };
    await writeAtomically(this.#path(stub), `${JSON.stringify(stub, null, 2)}\n`);
  }

  async remove(stub: Pick<KnownStub, 'domainUuid' | 'token'>): Promise<void> {
    await bestEffort(unlink(this.#path(stub)));
  }

  all(): Promise<KnownStub[]> {
    return this.#readAll(this.#stubs);
  }

  /** The stub is gone, and its guest was started without it: its memory is in the store only. */
  async discard(stub: KnownStub): Promise<void> {
    await writeAtomically(join(this.#discarded, nameOf(stub)), `${JSON.stringify(stub, null, 2)}\n`);
    await this.remove(stub);
  }

  discarded(): Promise<KnownStub[]> {
    return this.#readAll(this.#discarded);
  }

  /** The memory was put back, or removed from the store. */
  async forgetDiscarded(stub: Pick<KnownStub, 'domainUuid' | 'token'>): Promise<void> {
    await ifThere(join(this.#discarded, nameOf(stub)), unlink, undefined);
  }

  async #readAll(directory: string): Promise<KnownStub[]> {
    const names = (await namesIn(directory)).filter((name) => NAME.test(name));
    const stubs = await Promise.all(names.map((name) => this.#read(directory, name)));
    return stubs.filter((stub): stub is KnownStub => stub !== null);
  }

  /** Milliseconds since a stub was noted last. */
  async ageOf(stub: KnownStub): Promise<number> {
    const stats = await statIfThere(this.#path(stub));
    return stats === null ? 0 : Math.max(0, Date.now() - stats.mtimeMs);
  }

  /** Whether the hook has noted a start of this guest that nobody has dealt with yet. */
  async startNoted(domainUuid: string): Promise<boolean> {
    return (await namesIn(this.#started)).some((name) => name.startsWith(domainUuid));
  }

  /**
   * Of every guest (or only that one) that the hook saw starting: asks `look` what there is to consume, and
   * has it consumed, once (R25). A note is set aside only then: an offload deals with the notes of its own
   * guest before it stores anything, so what is stored after the look was not what started. A start that
   * happens meanwhile leaves a new note. If it cannot be consumed, the note stays for the next command.
   */
  async settleStarts(
    only: string | undefined,
    look: (domainUuid: string) => Promise<() => Promise<void>>,
  ): Promise<void> {
    for (const name of await namesIn(this.#started)) {
      const uuid = STARTED.exec(name)?.[1];
      if (uuid !== undefined && (only ?? uuid) === uuid) await this.#settle(name, uuid, look);
    }
  }

  async #settle(
    name: string,
    uuid: string,
    look: (domainUuid: string) => Promise<() => Promise<void>>,
  ): Promise<void> {
    const before = await statIfThere(join(this.#started, name));
    if (before === null) return; // another command dealt with it
    const consume = await look(uuid);
    const asideName = `${uuid}.${process.pid}`;
    const aside = join(this.#started, asideName);
    try {
      await rename(join(this.#started, name), aside);
    } catch (error) {
      if (isMissing(error)) return;
      throw cannotLook(aside, error);
    }
    const { ino, mtimeMs } = (await statIfThere(aside)) ?? before;
    // The guest has started once more while it was looked for.
    if (ino !== before.ino || mtimeMs !== before.mtimeMs) return this.#settle(asideName, uuid, look);
    await consume();
    await ifThere(aside, unlink, undefined);
  }

  async #read(directory: string, name: string): Promise<KnownStub | null> {
    const path = join(directory, name);
    const text = await readIfThere(path);
    if (text === null) return null;
    const stub = parseJson(text) as KnownStub | undefined;
    if (typeof stub?.image === 'string') return stub;
    throw new ParsError('corrupt', `${path}, the note of a stub, is damaged`, {
      hint:
        `see "pars list" for snapshots of the guest ${name.slice(0, 36)}; once its stub is found `
        + `and hydrated, remove the note`,
    });
  }

  #path(stub: Pick<KnownStub, 'domainUuid' | 'token'>): string {
    return join(this.#stubs, nameOf(stub));
  }
}

function nameOf({ domainUuid, token }: Pick<KnownStub, 'domainUuid' | 'token'>): string {
  return `${domainUuid}.${token}.json`;
}
