// SPDX-License-Identifier: Apache-2.0
/**
 * Reads every copy of every block of an object: round by round the object's bytes, each time from copies that
 * were not read yet. HDFS moves copies meanwhile, so the NameNode is asked right before each read what to
 * read, and right after it what became of it.
 */
import type { Native } from '../../native.js';
import { openRange, readRange, WebHdfsError, type BlockLocation } from '../../webhdfs/index.js';
import { blocksOf, placeOfBlock, standOf } from './blocks.js';
import type { HdfsFiles } from './files.js';
import type { CopyFault, StoredObject } from '../store.js';

/** Of a block whose copies move on and on, some stay unread, and do not count. */
const MAX_ROUNDS = 32;
/**
 * So often at the same place a copy is tried: once it may be the network, or the DataNode dies just then,
 * which the next try tells.
 */
const TRIES = 2;

/** A block as the NameNode knew it last, and what was seen of its copies. */
interface Seen {
  block: BlockLocation;
  /** DataNodes that were read from, and what came of it. */
  read: Map<string, 'good' | 'bad'>;
}

export interface CopiesRead {
  /** The blocks, on those DataNodes only whose copies are there and were read to the end. */
  good: BlockLocation[];
  faults: CopyFault[];
}

export class CopiesReader {
  readonly #files: HdfsFiles;
  readonly #newHash: Native['newHash'];
  readonly #path: string;
  readonly #object: StoredObject;
  readonly #faults = new Map<string, CopyFault>();
  #seen: Seen[] = [];

  constructor(files: HdfsFiles, newHash: Native['newHash'], path: string, object: StoredObject) {
    this.#files = files;
    this.#newHash = newHash;
    this.#path = path;
    this.#object = object;
  }

  async read(): Promise<CopiesRead> {
    const blocks = await blocksOf(this.#files, this.#path);
    this.#seen = blocks.map((block) => ({ block, read: new Map() }));
    let differs = false;
    for (
      let round = 0;
      !differs
      && round < MAX_ROUNDS
      && (round === 0 || this.#seen.some((seen) => this.#unread(seen).length > 0));
      round++
    ) {
      differs = (await this.#round()) === 'differs';
    }
    if (differs) this.#blame(this.#path, 'corrupt', 'the bytes in HDFS are not those that were written');
    return {
      good: this.#seen.map((seen) => only(seen.block, this.#good(seen))),
      faults: [...this.#faults.values()],
    };
  }

  /** The object once; 'differs' when all of it was read and is not what was written. */
  async #round(): Promise<'differs' | null> {
    const hash = this.#newHash();
    let whole = true;
    for (const seen of this.#seen) {
      seen.block = await this.#lookAgain(seen.block);
      const good = await this.#readOne(seen, (piece) => hash.update(piece));
      whole &&= good;
    }
    return whole && hash.digest() !== this.#object.xxh3 ? 'differs' : null;
  }

  /** Of a coded block only what is needed is read: whichever DataNode is asked gives the whole. */
  #unread({ block, read }: Seen): string[] {
    return this.#isCoded && read.size > 0 ? [] : block.names.filter((name) => !read.has(name));
  }

  #good({ block, read }: Seen): string[] {
    if (this.#isCoded) return [...read.values()].includes('good') ? block.names : [];
    return block.names.filter((name) => read.get(name) === 'good');
  }

  get #isCoded(): boolean {
    return this.#object.coding !== undefined;
  }

  /** A copy that was not read yet; when all were, a good one, for the other blocks' sake. */
  async #readOne(seen: Seen, take: (piece: Buffer) => void): Promise<boolean> {
    const next = this.#unread(seen)[0] ?? this.#good(seen)[0];
    if (next === undefined) return false;
    const from = this.#isCoded ? seen.block.names : [next];
    const fault = await this.#readFrom(seen.block, from, take);
    for (const name of from) seen.read.set(name, fault === null ? 'good' : 'bad');
    if (fault !== null)
      this.#blame(placeOfBlock(this.#path, on(seen.block, from)), fault.fault, fault.detail);
    const now = await this.#lookAgain(seen.block);
    this.#judgeGone(seen.block, now);
    seen.block = now;
    return fault === null;
  }

  async #readFrom(
    { offset, length, names }: BlockLocation,
    from: readonly string[],
    take: (piece: Buffer) => void,
  ): Promise<Pick<CopyFault, 'fault' | 'detail'> | null> {
    const end = offset + length;
    const excludeDataNodes = names.filter((name) => !from.includes(name));
    const open = this.#isCoded ? readRange : openRange;
    let at = offset;
    for (let failures = 0; ;) {
      try {
        for await (const piece of open(this.#files.client, this.#path, {
          offset: at,
          length: end - at,
          excludeDataNodes,
          signal: this.#files.signal,
        })) {
          at += piece.length;
          failures = 0;
          take(piece);
        }
        return null;
      } catch (error) {
        this.#files.signal?.throwIfAborted();
        if (!(error instanceof WebHdfsError)) throw error;
        const cut = isCut(error) && !this.#isCoded;
        const again = cut || error.kind === 'unreachable';
        if (!again || ++failures === TRIES)
          return { fault: cut ? 'corrupt' : 'unreachable', detail: error.message };
      }
    }
  }

  async #lookAgain(block: BlockLocation): Promise<BlockLocation> {
    const { offset, length } = block;
    const blocks = await blocksOf(this.#files, this.#path, { offset, length });
    return blocks.find((one) => one.offset === offset) ?? on(block, []);
  }

  /**
   * A DataNode that meets a bad copy reads on from another and tells the NameNode, which then knows one less.
   * Of one that was moved, or of which there were too many, as many are left as there should be, or as there
   * were.
   */
  #judgeGone(before: BlockLocation, now: BlockLocation): void {
    const gone = before.names.filter((name) => !now.names.includes(name));
    const { have, all } = standOf(now, this.#object.copies, this.#object.coding);
    if (have >= Math.min(all, before.names.length)) return;
    for (const name of gone)
      this.#blame(
        placeOfBlock(this.#path, on(before, [name])),
        'corrupt',
        'the copy failed its checksum when it was read',
      );
  }

  /** What was found first of a place holds. */
  #blame(place: string, fault: CopyFault['fault'], detail: string): void {
    if (!this.#faults.has(place)) this.#faults.set(place, { place, fault, detail });
  }
}

/** Only a DataNode that had begun to answer breaks off for the copy's sake: its checksums fail on the way. */
function isCut({ kind, answered, status }: WebHdfsError): boolean {
  return answered && status === undefined && (kind === 'unreachable' || kind === 'protocol');
}

/** For messages: the DataNodes by their addresses. */
function on(block: BlockLocation, names: string[]): BlockLocation {
  return { ...block, names, hosts: names };
}

/** Of all that is told of a block, what concerns these DataNodes. */
function only(block: BlockLocation, names: string[]): BlockLocation {
  const hosts = names.map((name) => block.hosts[block.names.indexOf(name)] ?? name);
  const topologyPaths = block.topologyPaths?.filter((path) =>
    names.some((name) => path.endsWith(`/${name}`)),
  );
  return { ...block, names, hosts, ...(topologyPaths && { topologyPaths }) };
}
