// SPDX-License-Identifier: Apache-2.0
/**
 * Reads an object front to back, block by block, each from a DataNode that has it. Frames are asked for in
 * the order in which they lie, some left out, so one stream a block serves many of them: a range of its own
 * for each would cost the DataNodes several times as much.
 */
import { bestEffort } from '../../system/best-effort.js';
import { ParsError } from '../../errors.js';
import {
  NEVER_REACHED,
  openRange,
  transferNames,
  WebHdfsError,
  type BlockLocation,
} from '../../webhdfs/index.js';
import { parseCoding, piecesOf } from '../coding.js';
import { blocksOf } from './blocks.js';
import { hdfsError } from './errors.js';
import type { HdfsFiles } from './files.js';

/** Bytes read for nothing rather than to open a new stream, which costs a DataNode about as much. */
const SKIP_BYTES = 4 << 20;
/** How long a DataNode that did not answer is left out of reads; ms. */
const AVOID_MS = 60_000;
const MAX_ATTEMPTS = 16;

/**
 * DataNodes that do not answer, by their address of data transfer. Shared by all reads of a store, so that
 * each is waited for once.
 */
export class SilentNodes {
  readonly #since = new Map<string, number>();

  add(names: readonly string[]): void {
    for (const name of names) this.#since.set(name, performance.now());
  }

  get names(): string[] {
    for (const [name, since] of this.#since)
      if (performance.now() - since > AVOID_MS) this.#since.delete(name);
    return [...this.#since.keys()];
  }
}

interface OpenStream {
  pieces: AsyncGenerator<Buffer, void>;
  at: number;
  rest: Buffer;
}

/** What went wrong with the copies of one block. */
interface Trouble {
  /** How often each DataNode broke off when it had begun to send: its copy is bad, or it died just then. */
  cut: Map<string, number>;
  /** How often each DataNode hung up before that, or refused, which it does for no copy's sake. */
  hungUp: Map<string, number>;
  attempts: number;
}

export class ObjectReader {
  readonly #files: HdfsFiles;
  #path: string;
  #coding: string | undefined;
  readonly #silent: SilentNodes;
  /** Addresses of data transfer that are not to be read from, to see what one copy holds. */
  readonly #without: readonly string[];
  #blocks: BlockLocation[] | undefined;
  #length = 0;
  #stream: OpenStream | undefined;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(files: HdfsFiles, path: string, silent = new SilentNodes(), without: readonly string[] = []) {
    this.#files = files;
    this.#path = path;
    this.#silent = silent;
    this.#without = without;
  }

  /** Bytes of the object; throws 'missing'. */
  async length(): Promise<number> {
    await this.#locate();
    return this.#length;
  }

  /** In the order of the asking. */
  read(offset: number, bytes: number): Promise<Buffer> {
    const work = this.#queue.then(() => this.#read(offset, bytes));
    this.#queue = bestEffort(work);
    return work;
  }

  /** Everything from `offset` to `end`, with no more in memory than a piece. */
  async *stream(offset: number, end: number): AsyncGenerator<Buffer> {
    try {
      for (let at = offset; at < end;) {
        const piece = await this.#piece(at, end - at);
        at += piece.length;
        yield piece;
      }
    } finally {
      this.close();
    }
  }

  /** Ends the open stream. It can be read on: with a new one. */
  close(): void {
    void bestEffort(this.#stream?.pieces.return(undefined));
    this.#stream = undefined;
  }

  async #read(offset: number, bytes: number): Promise<Buffer> {
    await this.#locate();
    if (offset + bytes > this.#length)
      throw new ParsError(
        'corrupt',
        `${this.#path} is too short (${this.#length} bytes, ${offset + bytes} needed)`,
      );
    const pieces: Buffer[] = [];
    for (let at = offset; at < offset + bytes;) {
      const piece = await this.#piece(at, offset + bytes - at);
      at += piece.length;
      pieces.push(piece);
    }
    return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces, bytes);
  }

  async #locate(): Promise<void> {
    if (this.#blocks) return;
    const found = await this.#files.find(this.#path);
    if (found?.status.type !== 'FILE') throw new ParsError('missing', `${this.#path} does not exist in HDFS`);
    this.#path = found.path;
    this.#coding = found.status.ecPolicy;
    this.#blocks = await blocksOf(this.#files, this.#path);
    this.#length = found.status.length;
  }

  /** At least a byte, at most `most`, from wherever it is available. */
  async #piece(at: number, most: number): Promise<Buffer> {
    await this.#locate();
    const trouble: Trouble = { cut: new Map(), hungUp: new Map(), attempts: 0 };
    for (;;) {
      try {
        return await this.#next(at, most, trouble);
      } catch (error) {
        this.close();
        this.#files.signal?.throwIfAborted();
        await this.#blame(error, at, trouble);
      }
    }
  }

  async #next(at: number, most: number, trouble: Trouble): Promise<Buffer> {
    if (!this.#leadsTo(at)) this.#open(at, trouble);
    const stream = this.#stream!;
    while (stream.at < at) await this.#take(stream, at - stream.at);
    const piece = await this.#take(stream, most);
    if (stream.rest.length === 0 && this.#blockAt(stream.at - 1) !== this.#blockAt(stream.at)) this.close();
    return piece;
  }

  /** Whether the open stream comes to `at`, and soon. */
  #leadsTo(at: number): boolean {
    const from = this.#stream?.at ?? Infinity;
    return from === at || (from < at && at - from <= SKIP_BYTES && this.#blockAt(from) === this.#blockAt(at));
  }

  async #take(stream: OpenStream, most: number): Promise<Buffer> {
    if (stream.rest.length === 0) {
      const next = await stream.pieces.next();
      if (next.done) throw new ParsError('internal', `${this.#path}: a stream ended before its block`);
      stream.rest = next.value;
    }
    const piece = stream.rest.subarray(0, most);
    stream.rest = stream.rest.subarray(piece.length);
    stream.at += piece.length;
    return piece;
  }

  /** To the end of the block: of the next one another DataNode may have the copy. */
  #open(at: number, { cut }: Trouble): void {
    this.close();
    const block = this.#blockAt(at);
    if (block?.corrupt) throw noCopy(this.#path, block, { cut }, this.#coding);
    const end = block ? block.offset + block.length : this.#length;
    const bad = [...cut].filter(([, times]) => times > 1).map(([name]) => name);
    const excludeDataNodes = [...new Set([...this.#without, ...this.#silent.names, ...bad])];
    const pieces = openRange(this.#files.client, this.#path, {
      offset: at,
      length: end - at,
      excludeDataNodes,
      signal: this.#files.signal,
    });
    this.#stream = { pieces, at, rest: Buffer.alloc(0) };
  }

  #blockAt(at: number): BlockLocation | undefined {
    return this.#blocks?.find(({ offset, length }) => at >= offset && at < offset + length);
  }

  /** Remembers whose fault it was; throws when there is nobody left to ask. */
  async #blame(error: unknown, at: number, trouble: Trouble): Promise<void> {
    if (!(error instanceof WebHdfsError)) throw error;
    this.#blocks = await blocksOf(this.#files, this.#path);
    const block = this.#blockAt(at);
    if (error.kind === 'lost-block') throw noCopy(this.#path, block, trouble, this.#coding, error);
    const elsewhere =
      error.dataNode
      && (error.kind === 'unreachable'
        || error.kind === 'timeout'
        || error.kind === 'protocol'
        || error.kind === 'other');
    if (!elsewhere || ++trouble.attempts > MAX_ATTEMPTS) throw hdfsError(error, `reading ${this.#path}`);
    const names = transferNames(error.node ?? '', block ? [block] : []);
    if (names.length === 0) throw hdfsError(error, `reading ${this.#path}`);
    if (error.kind === 'timeout' || NEVER_REACHED.has(error.exception ?? '')) return this.#silent.add(names);
    const count = error.answered && error.status === undefined ? trouble.cut : trouble.hungUp;
    for (const name of names) count.set(name, (count.get(name) ?? 0) + 1);
    this.#silent.add([...trouble.hungUp].filter(([, times]) => times > 1).map(([name]) => name));
  }
}

/**
 * Every DataNode that has a copy answers and breaks off: then the copies are bad. One that does not answer
 * may have a good one.
 */
function noCopy(
  path: string,
  block: BlockLocation | undefined,
  { cut }: Pick<Trouble, 'cut'>,
  coding: string | undefined,
  cause?: WebHdfsError,
): ParsError {
  const names = block?.names ?? [];
  const what = `the block at ${block?.offset ?? 0} of ${path}`;
  if (
    block?.corrupt
    || (coding === undefined && names.length > 0 && names.every((name) => (cut.get(name) ?? 0) > 1))
  ) {
    return new ParsError(
      'corrupt',
      `${what} has no good copy: those on ${names.join(', ')} fail their checksums`,
      { cause },
    );
  }
  return new ParsError('unreachable', `${what} is unavailable: ${whyNot(names, block, coding)}`, {
    cause,
    hint: 'start the DataNodes that are down, then try again',
  });
}

function whyNot(
  names: readonly string[],
  block: BlockLocation | undefined,
  coding: string | undefined,
): string {
  if (coding !== undefined && block !== undefined)
    return (
      `too few of its DataNodes answer: of ${piecesOf(parseCoding(coding), block.length).all} `
      + `pieces ${piecesOf(parseCoding(coding), block.length).needed} are needed`
    );
  return names.length > 0
    ? `none of the DataNodes that had it answers (${names.join(', ')})`
    : 'no DataNode that is alive has it';
}
