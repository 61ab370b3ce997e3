// SPDX-License-Identifier: Apache-2.0
/**
 * A store in local directories, each meant to be a disk of its own. Copies of an object lie in different
 * directories.
 */
import { join } from 'node:path';
import { isMissing } from '../../system/absence.js';
import { counted } from '../../system/counted.js';
import { ParsError } from '../../errors.js';
import { native } from '../../native.js';
import { createOnce } from './claim.js';
import { diskError, type Files, nodeFiles, removeEmptyParents, syncDirectory } from './files.js';
import { MARKER_FILE } from '../marker.js';
import { describeAbsences, notEnoughPlaces, parseDirectories, Places, type Survey } from './locations.js';
import { replicateCopies } from './repair.js';
import { ageOf, sweepDirectory } from './sweep.js';
import {
  type Attempt,
  CopyError,
  distinctContents,
  isAttempt,
  noGoodCopy,
  notProven,
  readProven,
  readSmallFile,
  tryCopy,
} from './reader.js';
import { type DiskPrimitives, LocalWriter } from './writer.js';
import { checkObjectName } from '../names.js';
import type {
  CopyFault,
  ObjectHealth,
  ObjectWriter,
  Store,
  StoredObject,
  StoreOptions,
  StoreStatus,
} from '../store.js';

export interface LocalStoreOptions extends StoreOptions {
  /** For tests: file operations that fail. */
  files?: Files;
  /** For tests without the addon. */
  disk?: DiskPrimitives;
}

/** Not objects: the marker, and what a file system keeps at its top. */
const NOT_OBJECTS = new Set([MARKER_FILE, 'lost+found']);

export class LocalStore implements Store {
  readonly url: string;
  readonly #files: Files;
  readonly #places: Places;
  readonly #signal: AbortSignal | undefined;
  readonly #toResume: boolean;
  #disk: DiskPrimitives | undefined;

  constructor(directories: readonly string[], options: LocalStoreOptions = {}) {
    this.url = `local:${directories.join(',')}`;
    this.#files = options.files ?? nodeFiles;
    this.#places = new Places(this.#files, directories);
    this.#signal = options.signal;
    this.#toResume = options.toResume ?? false;
    this.#disk = options.disk;
  }

  /** The store at "DIR,DIR,...": what stands behind "local:" in a URL. */
  static fromPath(path: string, options: LocalStoreOptions = {}): LocalStore {
    return new LocalStore(parseDirectories(path), options);
  }

  async status(): Promise<StoreStatus> {
    const { survey, room } = await this.#withRoom(await this.#survey(1));
    if (survey.usable.length === 0) throw notEnoughPlaces(this.url, 1, survey);
    return {
      url: this.url,
      storeId: survey.usable[0]?.marker.storeId ?? '',
      usablePlaces: survey.usable.length,
      places: this.#places.directories.length,
      freeBytes: [...room.values()].reduce((sum, bytes) => sum + bytes, 0),
      warnings: warningsOf(survey, room.size),
    };
  }

  async create(name: string, { copies }: { copies: number; critical: boolean }): Promise<ObjectWriter> {
    checkObjectName(name);
    if (!Number.isInteger(copies) || copies < 1)
      throw new ParsError('internal', `${name}: ${copies} copies cannot be created`);
    const { usable } = await this.#survey(copies);
    const chosen = this.#places
      .order(name, usable)
      .slice(0, copies)
      .map(({ directory }) => directory);
    return LocalWriter.open(this.#files, this.#primitives(), chosen, name);
  }

  /**
   * Every usable directory gets a copy, whatever `copies` says beyond "at least so many": a claim must be
   * seen from whichever directories are there later.
   */
  async createExclusive(name: string, data: Buffer, { copies }: { copies: number }): Promise<boolean> {
    checkObjectName(name);
    const { usable } = await this.#survey(copies);
    return createOnce(this.#files, this.#primitives(), usable, { name, data, copies });
  }

  async verify(object: StoredObject): Promise<void> {
    checkObjectName(object.name);
    const { usable, absent } = await this.#survey(1);
    const results = await Promise.all(usable.map(({ directory }) => this.#look(directory, object, true)));
    const faults = results.filter(isAttempt);
    const good = results.length - faults.length;
    if (good >= object.copies && faults.every(({ fault }) => fault === 'missing')) return;
    throw notProven(object, good, faults, absent);
  }

  async inspect(object: StoredObject, { read }: { read: boolean }): Promise<ObjectHealth> {
    checkObjectName(object.name);
    const { usable, absent } = await this.#survey(1);
    const results = await Promise.all(usable.map(({ directory }) => this.#look(directory, object, read)));
    const faults = results
      .filter(isAttempt)
      .map(({ directory, fault, detail }): CopyFault => ({ place: directory, fault, detail }));
    const away = absent.map(({ directory, reason }): CopyFault => ({
      place: directory,
      fault: 'unreachable',
      detail: reason,
    }));
    const devices = usable.filter((_, i) => !isAttempt(results[i])).map(({ device }) => device);
    const disks = new Set(devices).size;
    return {
      good: devices.length,
      wanted: object.copies,
      faults: [...faults, ...away],
      ...(disks > 0 && { placement: { copies: devices.length, disks, hosts: null, racks: null } }),
    };
  }

  async replicate(object: StoredObject): Promise<void> {
    checkObjectName(object.name);
    const { usable } = await this.#survey(1);
    const places = this.#places.order(object.name, usable).map(({ directory }) => directory);
    await replicateCopies(this.#files, this.#primitives(), places, object, (directory) =>
      this.#look(directory, object, true),
    );
  }

  async readRange(name: string, offset: number, bytes: number, sha256: string): Promise<Buffer> {
    checkObjectName(name);
    const attempts: Attempt[] = [];
    // The digest proves the bytes, so no marker needs to: a read looks at the markers only to explain why it
    // failed.
    for (const directory of this.#places.order(name, this.#places.directories)) {
      this.#signal?.throwIfAborted();
      const result = await tryCopy(this.#files, directory, name, (handle) =>
        readProven(handle, offset, bytes, sha256),
      );
      if (!isAttempt(result)) return result;
      attempts.push(result);
    }
    throw noGoodCopy(name, attempts, (await this.#places.survey()).absent);
  }

  async readWhole(
    name: string,
    accept: (data: Buffer) => boolean,
    rank: (data: Buffer) => number = () => 0,
  ): Promise<Buffer> {
    checkObjectName(name);
    const { usable, absent } = await this.#survey(1);
    const results = await Promise.all(
      usable.map(({ directory }) => tryCopy(this.#files, directory, name, readSmallFile)),
    );
    const copies = results.filter((result): result is Buffer => !isAttempt(result));
    const [best] = distinctContents(copies)
      .filter(accept)
      .sort((a, b) => rank(b) - rank(a));
    if (best) return best;
    const attempts = results.map((result, i): Attempt =>
      isAttempt(result)
        ? result
        : { directory: usable[i]?.directory ?? '', fault: 'corrupt', detail: 'its contents make no sense' },
    );
    throw noGoodCopy(name, attempts, absent);
  }

  async list(prefix: string): Promise<string[]> {
    if (prefix !== '') checkObjectName(prefix);
    const { usable } = await this.#survey(1);
    const lists = await Promise.all(usable.map(({ directory }) => this.#listIn(directory, prefix)));
    // Those that failed are missing by now, and too many may be.
    if (this.#toResume) await this.#survey(1);
    const hidden = (name: string): boolean =>
      name.startsWith('.') || (prefix === '' && NOT_OBJECTS.has(name));
    return [...new Set(lists.flat())].filter((name) => !hidden(name)).sort();
  }

  /**
   * Removes what it can reach, then says what it could not: a disk that comes back would bring the object
   * back.
   */
  async remove(nameOrPrefix: string): Promise<void> {
    checkObjectName(nameOrPrefix);
    const { usable, absent } = await this.#survey(1);
    await Promise.all(usable.map(({ directory }) => this.#removeIn(directory, nameOrPrefix)));
    if (absent.length === 0) return;
    throw new ParsError(
      'unreachable',
      `${nameOrPrefix} is removed from the directories that are there, but may be in others `
        + `(${describeAbsences(absent)})`,
      { hint: 'remove it again when they are back' },
    );
  }

  /** The youngest copy counts: one that was replaced is as old as the replacement. */
  async age(name: string): Promise<number> {
    checkObjectName(name);
    const { usable } = await this.#survey(1);
    const ages = await Promise.all(usable.map(({ directory }) => ageOf(this.#files, join(directory, name))));
    const known = ages.filter((age) => age !== null);
    if (known.length === 0) throw new ParsError('missing', `there is no ${name} in ${this.url}`);
    return Math.min(...known);
  }

  async sweep(options: { olderThanMs: number; dryRun: boolean }): Promise<number> {
    const { usable } = await this.#survey(1);
    const counts = await Promise.all(
      usable.map(({ directory }) => sweepDirectory(this.#files, directory, options)),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** Holds nothing open between calls. */
  async close(): Promise<void> {}

  async #survey(needed: number): Promise<Survey> {
    this.#signal?.throwIfAborted();
    const survey = await this.#places.survey();
    if (survey.usable.length < needed) throw notEnoughPlaces(this.url, needed, survey);
    return survey;
  }

  #primitives(): DiskPrimitives {
    return (this.#disk ??= native());
  }

  /** Room by device. A disk that does not say its room fails, and counts as missing. */
  async #withRoom({ usable, absent }: Survey): Promise<{ survey: Survey; room: Map<number, number> }> {
    const room = new Map<number, number>();
    const survey: Survey = { usable: [], absent: [...absent] };
    for (const place of usable) {
      const bytes = await this.#roomIn(place.directory);
      if (typeof bytes === 'number') {
        survey.usable.push(place);
        room.set(place.device, bytes);
      } else survey.absent.push({ directory: place.directory, reason: bytes.message });
    }
    return { survey, room };
  }

  async #roomIn(directory: string): Promise<number | ParsError> {
    try {
      const { bavail, bsize } = await this.#files.statfs(directory);
      return bavail * bsize;
    } catch (error) {
      const failed = diskError(error, 'asking for its room');
      if (failed.kind === 'internal') throw failed;
      return failed;
    }
  }

  /** Looks at one copy: its length, or with `read` every byte, from the disk. */
  async #look(directory: string, object: StoredObject, read: boolean): Promise<'good' | Attempt> {
    this.#signal?.throwIfAborted();
    return tryCopy(this.#files, directory, object.name, async (handle) => {
      const { xxh3, bytes } = read
        ? await this.#primitives().hashFileUncached(handle.fd)
        : { xxh3: object.xxh3, bytes: (await handle.stat()).size };
      if (bytes !== object.bytes)
        throw new CopyError('corrupt', `${bytes} bytes on the disk, ${object.bytes} were written`);
      if (xxh3 !== object.xxh3)
        throw new CopyError('corrupt', 'the bytes on the disk are not those that were written');
      return 'good' as const;
    });
  }

  async #listIn(directory: string, prefix: string): Promise<string[]> {
    const path = join(directory, prefix);
    try {
      return await this.#files.readdir(path);
    } catch (error) {
      if (isMissing(error)) return [];
      const failed = diskError(error, `listing ${path}`);
      if (!this.#toResume || failed.kind === 'internal') throw failed;
      this.#places.leaveOut({ directory, reason: failed.message });
      return [];
    }
  }

  async #removeIn(root: string, name: string): Promise<void> {
    const path = join(root, name);
    try {
      await this.#files.rm(path, { recursive: true, force: true });
      await syncDirectory(this.#files, join(path, '..')).catch((error: unknown) => {
        if (!isMissing(error)) throw error;
      });
      await removeEmptyParents(this.#files, root, path);
    } catch (error) {
      throw diskError(error, `removing ${path}`);
    }
  }
}

function warningsOf({ usable, absent }: Survey, devices: number): string[] {
  const warnings = absent.map(({ directory, reason }) => `${directory} cannot be used: ${reason}`);
  if (devices < usable.length)
    warnings.push(
      `${usable.length} directories lie on ${counted(devices, 'device')}: copies `
        + `on one device are lost together`,
    );
  for (const others of new Set(usable.map((place) => place.others)))
    if (others !== null)
      warnings.push(
        `${others}: who can write to a store can read the guests' memory and run code on this host `
          + '(chown root:root, chmod go-w)',
      );
  return warnings;
}
