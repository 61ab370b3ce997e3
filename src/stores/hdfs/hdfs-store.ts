// SPDX-License-Identifier: Apache-2.0
/**
 * A store in HDFS, over WebHDFS: an object is a file with as many copies as its class asks for, on as many
 * DataNodes.
 */
import { createHash } from 'node:crypto';
import { ParsError } from '../../errors.js';
import { native, type Native } from '../../native.js';
import { parseCoding } from '../coding.js';
import { unavailableParts } from './unavailable.js';
import { prepareCoding } from './coding.js';
import { expiryWarnings } from './expiry.js';
import { HdfsFiles } from './files.js';
import { inspectObject, replicateObject, notProven, proveCopies } from './health.js';
import { type HdfsMarker, readMarker } from './marker.js';
import { countNodes, type Nodes } from './nodes.js';
import { quotaRoom } from './quota.js';
import { ObjectReader, SilentNodes } from './object-reader.js';
import { Spread } from './placement.js';
import { NameNodeClock, sweepBelow } from './sweep.js';
import { protections, trustWarnings } from './trust.js';
import { notWhatWasSent, type Receivers, sendSmall } from './upload.js';
import { parseHdfsUrl } from './url.js';
import { HdfsWriter } from './writer.js';
import { MARKER_FILE } from '../marker.js';
import { checkObjectName } from '../names.js';
import {
  MAX_WHOLE_BYTES,
  type ObjectHealth,
  type ObjectTerms,
  type ObjectWriter,
  type Store,
  type StoredObject,
  type StoreOptions,
  type StoreStatus,
  type Stretch,
} from '../store.js';

export interface HdfsStoreOptions extends StoreOptions {
  /** For tests without the addon. */
  newHash?: Native['newHash'];
}

/** Streams that may stand open, each at the place where the next frame of its pack begins. */
const MAX_READERS = 24;
const CHECK_MS = 30_000;

export class HdfsStore implements Store {
  readonly url: string;
  /** States and claims are worth keeping (R21), however few copies the caller is content with. */
  readonly stateCopies = 3;
  readonly #files: HdfsFiles;
  readonly #newHash: Native['newHash'];
  readonly #silent = new SilentNodes();
  readonly #readers = new Map<string, ObjectReader>();
  /** What this process sent and the cluster's checksum has confirmed (R20): object to the id of its file. */
  readonly #confirmed = new Map<string, { object: StoredObject; fileId: number | undefined }>();
  readonly #clock: NameNodeClock;
  readonly #spread = new Spread();
  #checked: { marker: HdfsMarker; nodes: Nodes | null; at: number } | undefined;

  constructor(url: string, options: HdfsStoreOptions = {}) {
    const address = parseHdfsUrl(url);
    this.url = address.url;
    this.#files = new HdfsFiles(address, options.signal);
    this.#newHash = options.newHash ?? (() => native().newHash());
    this.#clock = new NameNodeClock(this.#files);
  }

  async status(): Promise<StoreStatus> {
    this.#checked = undefined;
    const { marker, nodes } = await this.#check(1);
    const warnings = [...(await expiryWarnings(this.#files.client.options)), ...trustWarnings(this.#files)];
    if (nodes === null)
      warnings.unshift(
        'the NameNode does not show how many DataNodes are alive (its page /jmx), so that is not '
          + 'checked beforehand',
      );
    else if (nodes.dead > 0)
      warnings.unshift(
        `${nodes.dead} of ${nodes.live + nodes.dead} DataNodes are dead: what has its only copy there `
          + `cannot be read now`,
      );
    const places = nodes?.live ?? UNKNOWN_PLACES;
    const room = [nodes?.freeBytes ?? null, await quotaRoom(this.#files)].filter((bytes) => bytes !== null);
    return {
      url: this.url,
      storeId: marker.storeId,
      usablePlaces: places,
      places,
      freeBytes: room.length === 0 ? null : Math.min(...room),
      facts: protections(this.#files, await this.#files.status(this.#files.root)),
      warnings,
    };
  }

  async create(name: string, terms: ObjectTerms): Promise<ObjectWriter> {
    checkObjectName(name);
    const { copies, coding } = terms;
    if (!Number.isInteger(copies) || copies < 1)
      throw new ParsError('internal', `${name}: ${copies} copies cannot be created`);
    const { nodes } = await this.#check(copies);
    const path = coding === undefined ? this.#files.pathOf(name) : `${this.#files.codedRoot(coding)}/${name}`;
    const hooks = {
      newHash: this.#newHash,
      readBack: (temporary: string, object: StoredObject) => this.#readBack(temporary, object),
      published: async (object: StoredObject) => {
        this.#forget(name);
        this.#confirmed.set(name, { object, fileId: (await this.#files.status(path))?.fileId });
      },
    };
    return new HdfsWriter(
      this.#files,
      hooks,
      name,
      path,
      terms,
      copies === 1 && coding === undefined ? this.#receiversOf(nodes) : undefined,
    );
  }

  /** Whole before it is seen: uploaded under another name, then renamed to one that must be free. */
  async createExclusive(name: string, data: Buffer, { copies }: { copies: number }): Promise<boolean> {
    checkObjectName(name);
    await this.#check(copies);
    const path = this.#files.pathOf(name);
    if ((await this.#files.status(path)) !== null) return false;
    const temporary = this.#files.temporaryFor(path);
    let created = false;
    try {
      await sendSmall(this.#files, temporary, data, {
        copies: Math.max(copies, this.stateCopies),
        critical: true,
        permission: '600',
      });
      created = await this.#files.publishNew(temporary, path);
      return created;
    } finally {
      if (!created) await this.#files.discard(temporary);
    }
  }

  async verify(object: StoredObject): Promise<void> {
    checkObjectName(object.name);
    const confirmed = this.#confirmed.get(object.name);
    this.#confirmed.delete(object.name);
    const found = await this.#files.find(this.#files.pathOf(object.name));
    const same =
      confirmed?.object.xxh3 === object.xxh3
      && confirmed.fileId === found?.status.fileId
      && found?.status.length === object.bytes;
    if (same && found)
      return this.#spread.add(object, await proveCopies(this.#files, found.path, found.status, object));
    const health = await inspectObject(this.#files, this.#newHash, object, true);
    if (health.good < health.wanted || health.faults.length > 0) throw notProven(object, health);
  }

  async refuseCoding(coding: string): Promise<void> {
    const { data, parity } = parseCoding(coding);
    const { nodes } = await this.#check(0);
    if (nodes !== null && nodes.live < data + parity) {
      throw new ParsError(
        'unreachable',
        `${coding} needs ${data + parity} DataNodes, but ${nodes.live} of the `
          + `${nodes.live + nodes.dead} of ${this.url} are alive`,
        { hint: 'start the others, or choose a policy with copies' },
      );
    }
    await prepareCoding(this.#files, coding);
  }

  unavailable(names: readonly string[]): Promise<Stretch[]> {
    return unavailableParts(this.#files, this.#silent, names);
  }

  notes(): string[] {
    return this.#spread.notes();
  }

  inspect(object: StoredObject, { read }: { read: boolean }): Promise<ObjectHealth> {
    checkObjectName(object.name);
    return inspectObject(this.#files, this.#newHash, object, read);
  }

  async replicate(object: StoredObject, { waitMs }: { waitMs: number }): Promise<void> {
    checkObjectName(object.name);
    await replicateObject(this.#files, object, waitMs);
  }

  async readRange(name: string, offset: number, bytes: number, sha256: string): Promise<Buffer> {
    checkObjectName(name);
    const digestOf = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
    const data = await this.#reader(name).read(offset, bytes);
    if (digestOf(data) === sha256) return data;
    // Once more: it may have been rewritten since its blocks were looked up.
    this.#forget(name);
    const again = await this.#reader(name).read(offset, bytes);
    if (digestOf(again) === sha256) return again;
    throw new ParsError(
      'corrupt',
      `${name} has no good copy: bytes ${offset} to ${offset + bytes} do not match their digest`,
    );
  }

  async readWhole(name: string, accept: (data: Buffer) => boolean): Promise<Buffer> {
    checkObjectName(name);
    const reader = new ObjectReader(this.#files, this.#files.pathOf(name), this.#silent);
    try {
      const length = await reader.length();
      if (length > MAX_WHOLE_BYTES)
        throw new ParsError(
          'corrupt',
          `${name} is too long (${length} bytes, at most ${MAX_WHOLE_BYTES} expected)`,
        );
      const data = await reader.read(0, length);
      if (accept(data)) return data;
      throw new ParsError('corrupt', `${name} has no good copy: its contents make no sense`);
    } finally {
      reader.close();
    }
  }

  async list(prefix: string): Promise<string[]> {
    if (prefix !== '') checkObjectName(prefix);
    await this.#check(0);
    const directories = await this.#files.everywhere(this.#files.pathOf(prefix));
    const names = (await Promise.all(directories.map((directory) => this.#files.list(directory))))
      .flat()
      .map(({ pathSuffix }) => pathSuffix);
    return [...new Set(names)]
      .filter((name) => !name.startsWith('.') && !(prefix === '' && name === MARKER_FILE))
      .sort();
  }

  async remove(nameOrPrefix: string): Promise<void> {
    checkObjectName(nameOrPrefix);
    await this.#check(0);
    for (const name of this.#readers.keys())
      if (name === nameOrPrefix || name.startsWith(`${nameOrPrefix}/`)) this.#forget(name);
    for (const path of await this.#files.everywhere(this.#files.pathOf(nameOrPrefix)))
      await this.#files.remove(path);
  }

  async age(name: string): Promise<number> {
    checkObjectName(name);
    const found = await this.#files.find(this.#files.pathOf(name));
    if (found === null) throw new ParsError('missing', `there is no ${name} in ${this.url}`);
    return Math.max(0, (await this.#clock.now()) - found.status.modificationTime);
  }

  async sweep(options: { olderThanMs: number; dryRun: boolean }): Promise<number> {
    await this.#check(0);
    return sweepBelow(this.#files, this.#clock, options);
  }

  async close(): Promise<void> {
    for (const name of [...this.#readers.keys()]) this.#forget(name);
  }

  /** R22: a directory without a marker is not a store, and is never written. */
  async #check(needed: number): Promise<{ marker: HdfsMarker; nodes: Nodes | null }> {
    if (this.#checked === undefined || performance.now() - this.#checked.at > CHECK_MS) {
      const marker = await readMarker(this.#files, this.#silent);
      if (marker === null) throw notAStore(this.url, this.#files.pathOf(MARKER_FILE));
      this.#checked = { marker, nodes: await countNodes(this.#files), at: performance.now() };
    }
    const { nodes } = this.#checked;
    if (nodes !== null && nodes.live < needed) {
      throw new ParsError(
        'unreachable',
        `${needed} copies need as many DataNodes, but ${nodes.live} of the ${nodes.live + nodes.dead} `
          + `of ${this.url} are alive`,
        { hint: 'start the others, or choose a policy with fewer copies' },
      );
    }
    return this.#checked;
  }

  #receiversOf(nodes: Nodes | null): Receivers {
    return {
      choose: (offer, unreachable) =>
        this.#spread.chooseReceiver(nodes?.live ?? UNKNOWN_PLACES, offer, unreachable),
      sent: (receiver, bytes) => this.#spread.sent(receiver, bytes),
    };
  }

  #reader(name: string): ObjectReader {
    const reader =
      this.#readers.get(name) ?? new ObjectReader(this.#files, this.#files.pathOf(name), this.#silent);
    // The one used longest ago is first.
    this.#readers.delete(name);
    this.#readers.set(name, reader);
    const [oldest] = this.#readers.keys();
    if (this.#readers.size > MAX_READERS && oldest !== undefined) this.#forget(oldest);
    return reader;
  }

  #forget(name: string): void {
    this.#readers.get(name)?.close();
    this.#readers.delete(name);
  }

  async #readBack(path: string, object: StoredObject): Promise<void> {
    const hash = this.#newHash();
    const reader = new ObjectReader(this.#files, path, this.#silent);
    for await (const piece of reader.stream(0, object.bytes)) hash.update(piece);
    if (hash.digest() !== object.xxh3) throw notWhatWasSent(path);
  }
}

/** More than a policy can ask for: what is not known does not stand in the way. */
const UNKNOWN_PLACES = 16;

function notAStore(url: string, marker: string): ParsError {
  return new ParsError('unreachable', `${url} is not a store: there is no ${marker} in HDFS`, {
    hint:
      'what is stored is not lost: see whether this is the directory, of the cluster, that it was stored '
      + 'in; only a store that was never set up is made with: pars store init (same --store or '
      + 'configuration)',
  });
}
