// SPDX-License-Identifier: Apache-2.0
/**
 * A client for Network Block Device servers that reads and nothing else, one request after another. Fixed
 * newstyle handshake, simple replies (NBD doc/proto.md). What a server answers is checked: it may be anybody.
 */
import { connect, type Socket } from 'node:net';
import { clip, type DiskBytes } from './disk-bytes.js';
import { ParsError } from '../errors.js';

const NBD_MAGIC = 0x4e42444d41474943n,
  OPTION_MAGIC = 0x49484156454f5054n,
  REPLY_MAGIC = 0x3e889045565a9n;
const REQUEST_MAGIC = 0x25609513,
  SIMPLE_MAGIC = 0x67446698;
const FIXED_NEWSTYLE = 1,
  NO_ZEROES = 2;
const OPTION_EXPORT_NAME = 1,
  OPTION_GO = 7;
const REPLY_ACK = 1,
  REPLY_INFO = 3,
  REPLY_UNSUPPORTED = 0x80000001,
  REPLY_TLS_REQUIRED = 0x80000005;
const INFO_EXPORT = 0;
const COMMAND_READ = 0,
  COMMAND_DISCONNECT = 2;
const MAX_REQUEST = 1 << 20;
const MAX_OPTION_REPLY = 1 << 16;
const ALIGNMENT = 4096;

export type NbdAddress = { path: string } | { host: string; port: number };

/** Connects to the export called `name`. Throws 'unreachable'. `signal` ends whatever it waits for. */
export async function openNbd(address: NbdAddress, name: string, signal: AbortSignal): Promise<DiskBytes> {
  const stream = new NbdStream(connect(address), signal);
  try {
    return new NbdDisk(stream, await negotiate(stream, name));
  } catch (error) {
    stream.end();
    throw error;
  }
}

/** Bytes of a socket, so many at a time. */
class NbdStream {
  readonly #socket: Socket;
  readonly #signal: AbortSignal;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #failure: Error | null = null;
  #notify: () => void = () => {};
  readonly #abort = (): void =>
    this.#fail(new ParsError('unreachable', 'the NBD server did not answer in time'));

  constructor(socket: Socket, signal: AbortSignal) {
    this.#socket = socket;
    this.#signal = signal;
    socket.on('data', (data: Buffer) => {
      this.#held.push(data);
      this.#heldBytes += data.length;
      this.#notify();
    });
    socket.on('error', (error) =>
      this.#fail(
        new ParsError('unreachable', `the NBD server cannot be reached: ${error.message}`, { cause: error }),
      ),
    );
    socket.on('close', () =>
      this.#fail(new ParsError('unreachable', 'the NBD server closed the connection')),
    );
    signal.addEventListener('abort', this.#abort);
    if (signal.aborted) this.#abort();
  }

  /** Exactly so many bytes. */
  async take(bytes: number): Promise<Buffer> {
    while (this.#heldBytes < bytes) {
      if (this.#failure !== null) throw this.#failure;
      await new Promise<void>((resolve) => (this.#notify = resolve));
    }
    const all = this.#held.length === 1 ? this.#held[0]! : Buffer.concat(this.#held);
    this.#held = all.length === bytes ? [] : [all.subarray(bytes)];
    this.#heldBytes -= bytes;
    return all.subarray(0, bytes);
  }

  send(...parts: Buffer[]): void {
    this.#socket.write(Buffer.concat(parts));
  }

  end(): void {
    this.#signal.removeEventListener('abort', this.#abort);
    this.#socket.destroy();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#socket.destroy();
    this.#notify();
  }
}

/** Length of the export. */
async function negotiate(stream: NbdStream, name: string): Promise<number> {
  const greeting = await stream.take(18);
  const isNewstyle =
    greeting.readBigUInt64BE(0) === NBD_MAGIC && greeting.readBigUInt64BE(8) === OPTION_MAGIC;
  const flags = greeting.readUInt16BE(16);
  if (!isNewstyle || (flags & FIXED_NEWSTYLE) === 0)
    throw bad('its greeting is not that of the fixed newstyle handshake');
  const noZeroes = (flags & NO_ZEROES) !== 0;
  stream.send(u32(FIXED_NEWSTYLE | (noZeroes ? NO_ZEROES : 0)));
  const text = Buffer.from(name, 'utf8');
  stream.send(option(OPTION_GO, Buffer.concat([u32(text.length), text, Buffer.alloc(2)])));
  const bytes = await answerToGo(stream, name);
  if (bytes !== null) return bytes;
  stream.send(option(OPTION_EXPORT_NAME, text));
  const answer = await stream.take(10 + (noZeroes ? 0 : 124));
  return lengthIn(answer, 0);
}

/** Null when the server is too old to know the question. */
async function answerToGo(stream: NbdStream, name: string): Promise<number | null> {
  for (let bytes: number | null = null; ;) {
    const reply = await stream.take(20);
    const type = reply.readUInt32BE(12),
      length = reply.readUInt32BE(16);
    if (reply.readBigUInt64BE(0) !== REPLY_MAGIC || length > MAX_OPTION_REPLY)
      throw bad('its reply to an option is not one');
    const data = await stream.take(length);
    if (type === REPLY_INFO && length >= 12 && data.readUInt16BE(0) === INFO_EXPORT)
      bytes = lengthIn(data, 2);
    else if (type === REPLY_UNSUPPORTED) return null;
    else if (type === REPLY_ACK && bytes !== null) return bytes;
    else if (type === REPLY_TLS_REQUIRED) throw bad('it asks for TLS');
    else if (type !== REPLY_INFO) throw bad(`it has no export ${JSON.stringify(name)}`);
  }
}

function lengthIn(data: Buffer, at: number): number {
  const bytes = Number(data.readBigUInt64BE(at));
  if (!Number.isSafeInteger(bytes)) throw bad('its export has no length that can be');
  return bytes;
}

class NbdDisk implements DiskBytes {
  readonly bytes: number;
  readonly #stream: NbdStream;
  #closed = false;
  #requests = 0n;

  constructor(stream: NbdStream, bytes: number) {
    this.#stream = stream;
    this.bytes = bytes;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const end = offset + clip(offset, length, this.bytes);
    if (end <= offset) return Buffer.alloc(0);
    const first = offset - (offset % ALIGNMENT),
      last = Math.min(this.bytes, Math.ceil(end / ALIGNMENT) * ALIGNMENT);
    const parts: Buffer[] = [];
    for (let at = first; at < last; at += MAX_REQUEST)
      parts.push(await this.#request(at, Math.min(MAX_REQUEST, last - at)));
    return Buffer.concat(parts).subarray(offset - first, end - first);
  }

  async #request(offset: number, length: number): Promise<Buffer> {
    const handle = ++this.#requests;
    this.#stream.send(request(COMMAND_READ, handle, offset, length));
    const reply = await this.#stream.take(16);
    if (reply.readUInt32BE(0) !== SIMPLE_MAGIC || reply.readBigUInt64BE(8) !== handle)
      throw bad('its reply to a read is not one');
    const error = reply.readUInt32BE(4);
    if (error !== 0)
      throw new ParsError(
        'unreachable',
        `the NBD server cannot read ${length} bytes at ${offset}: error ${error}`,
      );
    return this.#stream.take(length);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#stream.send(request(COMMAND_DISCONNECT, 0n, 0, 0));
    this.#stream.end();
  }
}

function request(command: number, handle: bigint, offset: number, length: number): Buffer {
  const out = Buffer.alloc(28);
  out.writeUInt32BE(REQUEST_MAGIC, 0);
  out.writeUInt16BE(command, 6);
  out.writeBigUInt64BE(handle, 8);
  out.writeBigUInt64BE(BigInt(offset), 16);
  out.writeUInt32BE(length, 24);
  return out;
}

function option(code: number, data: Buffer): Buffer {
  const head = Buffer.alloc(16);
  head.writeBigUInt64BE(OPTION_MAGIC, 0);
  head.writeUInt32BE(code, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
}

function u32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value);
  return out;
}

function bad(why: string): ParsError {
  return new ParsError('unreachable', `the NBD server cannot be used: ${why}`);
}
