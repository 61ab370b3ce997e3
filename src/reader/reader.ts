// SPDX-License-Identifier: Apache-2.0
/**
 * The parent's side of the reader: starts it in its jail with a read-only descriptor of the image, speaks its
 * protocol, and believes nothing it has not checked (R1).
 */
import { fstatSync, statSync } from 'node:fs';
import { parseJson as jsonOf } from '../system/json-text.js';
import type { ReadableDisk } from '../disks/guest-disks.js';
import { ParsError } from '../errors.js';
import type { ImageFacts, InspectionFacts, ReferenceFacts } from './inspection.js';
import { builtBinary } from '../native.js';
import { PipedChild } from '../system/child-process.js';
import type { OnProgress } from '../progress.js';
import { Patience, patienceMs } from './patience.js';
import { badAnswer, inspectionFacts, referenceFacts } from './reader-answers.js';
import { factsOfImage } from './save-header.js';

export const MESSAGE = {
  image: 1,
  inspection: 3,
  error: 4,
  pack: 5,
  stripe: 6,
  table: 7,
  end: 8,
  map: 9,
  query: 10,
  explanation: 11,
  references: 12,
  diskMap: 13,
} as const;
/** The most bytes of an answer of each type; a table's come from its stripe. */
const MAX_ANSWER: Record<number, number> = {
  [MESSAGE.image]: 2 << 20,
  [MESSAGE.inspection]: 2 << 20,
  [MESSAGE.error]: 256 << 10,
  [MESSAGE.stripe]: 64,
  [MESSAGE.end]: 64 << 10,
  [MESSAGE.map]: 2 << 20,
  [MESSAGE.explanation]: 4 << 20,
  [MESSAGE.references]: 64 << 10,
};

export type ReaderMode = 'probe' | 'report' | 'map' | 'explain' | 'live' | 'pack' | 'whole';

/** The image does not parse, or is of a kind that is not looked into. `code` as in native/core/result.cc. */
export class ImageError extends ParsError {
  readonly code: string;
  readonly offset: number;

  constructor(code: string, offset: number, message: string) {
    const refused = code.startsWith('unsupported');
    super(refused ? 'refused' : 'corrupt', `${message} (${code} at byte ${offset})`, {
      hint: refused
        ? 'store it whole with "pars offload --keep-local", or set save_image_format = "raw" in '
          + '/etc/libvirt/qemu.conf for the next save'
        : 'if it is a libvirt save image it is damaged or still being written; Pars leaves it alone',
    });
    this.code = code;
    this.offset = offset;
  }
}

/** What to make of the signal that ended the reader. */
const HINTS: Record<string, string> = {
  SIGSYS: 'it tried something its jail forbids: the image may be hostile',
  SIGXCPU:
    'it took more processor time than an image of its size needs: nothing was changed, and the image '
    + 'may be hostile',
};

export interface ReaderOptions {
  signal?: AbortSignal;
  /** Of what is packed. */
  onProgress?: OnProgress;
  /** Called when the reader of a whole image runs, in a process of its own. */
  onStart?: () => void;
}

interface Message {
  type: number;
  payload: Buffer;
}

/** Where a table of so many bytes is put. Throws when it is too long. */
type TableMemory = (bytes: number) => Buffer;
const noTable: TableMemory = () => {
  throw badAnswer('a table where none is due');
};

/** How the reader is told of a disk: its number, and in how many files it is if that takes a map. */
function wordOf({ number, fds, map }: ReadableDisk): string {
  return map === null ? String(number) : `${number}:${fds.length}`;
}

function readerPath(): string {
  const path = builtBinary('pars-reader');
  if (statSync(path, { throwIfNoEntry: false })) return path;
  throw new ParsError('internal', 'the reader is not built', {
    hint: 'run "npm run build" in the directory of pars',
  });
}

/** One run of the reader. */
export class Reader {
  readonly #child: PipedChild;
  readonly #patience: Patience;

  constructor(
    mode: ReaderMode,
    imageFd: number,
    { signal, onStart }: ReaderOptions,
    disks: readonly ReadableDisk[] = [],
  ) {
    this.#child = new PipedChild(
      [readerPath(), mode, ...disks.map(wordOf)],
      (writeFd) => ['pipe', 'ignore', 'pipe', imageFd, writeFd, ...disks.flatMap(({ fds }) => fds)],
      {},
      signal,
    );
    this.#patience = new Patience(patienceMs(mode, fstatSync(imageFd).size), () => this.#child.kill());
    if (mode !== 'probe') onStart?.();
    for (const { map } of disks) if (map !== null) this.#sendBytes(MESSAGE.diskMap, map);
  }

  /** The next message. The reader's own error message is thrown. */
  async next(memory: TableMemory = noTable): Promise<Message> {
    const message = await this.#receive(memory);
    if (message.type === MESSAGE.error) throw this.#imageError(message);
    return message;
  }

  async expect(type: number, memory?: TableMemory): Promise<Buffer> {
    const message = await this.next(memory);
    if (message.type !== type) throw badAnswer(`message ${message.type} where ${type} is due`);
    return message.payload;
  }

  /** What it found on the disks it was given; null when there are none. */
  async references(
    disks: readonly ReadableDisk[],
    inspection: InspectionFacts,
  ): Promise<ReferenceFacts | null> {
    if (disks.length === 0) return null;
    return referenceFacts(parseJson(await this.expect(MESSAGE.references)), inspection);
  }

  send(type: number, payload: object): void {
    this.#sendBytes(type, Buffer.from(JSON.stringify(payload)));
  }

  /** Ends the reader, whatever it is doing. Safe twice. */
  async close(): Promise<void> {
    await this.#child.close();
  }

  #sendBytes(type: number, payload: Buffer): void {
    const header = Buffer.alloc(8);
    header.writeUInt32LE(type, 0);
    header.writeUInt32LE(payload.length, 4);
    this.#child.stdin?.write(Buffer.concat([header, payload]));
  }

  async #receive(memory: TableMemory): Promise<Message> {
    const header = await this.#patience.during(this.#child.read(Buffer.allocUnsafe(8)));
    if (header.length < 8) throw await this.#death();
    const type = header.readUInt32LE(0),
      bytes = header.readUInt32LE(4);
    const into = type === MESSAGE.table ? memory(bytes) : Buffer.allocUnsafe(allowed(type, bytes));
    const payload = await this.#patience.during(this.#child.read(into));
    if (payload.length < bytes) throw await this.#death();
    return { type, payload };
  }

  async #death(): Promise<Error> {
    this.#patience.check();
    const { signal, how, said } = await this.#child.ending();
    return new ParsError('internal', `the reader ${how} before it had answered${said}`, {
      hint: HINTS[signal ?? ''] ?? 'nothing was changed; run again, and report it if it repeats',
    });
  }

  #imageError(message: Message): Error {
    const {
      code,
      offset,
      message: text,
    } = parseJson(message.payload) as { code?: unknown; offset?: unknown; message?: unknown };
    if (typeof code !== 'string' || typeof offset !== 'number' || typeof text !== 'string')
      return badAnswer('an error without a text');
    return new ImageError(code.slice(0, 64), offset, text.slice(0, 512));
  }
}

function allowed(type: number, bytes: number): number {
  if (bytes > (MAX_ANSWER[type] ?? 0)) throw badAnswer(`message ${type} of ${bytes} bytes`);
  return bytes;
}

export function parseJson(payload: Buffer): unknown {
  const value = jsonOf(payload.toString('utf8'));
  if (value === undefined) throw badAnswer('not JSON');
  return value;
}

/** Header, domain and stub record: reads nothing past the head, so it serves stubs too. */
export async function probeImage(imageFd: number, options: ReaderOptions = {}): Promise<ImageFacts> {
  const reader = new Reader('probe', imageFd, options);
  try {
    return factsOfImage(parseJson(await reader.expect(MESSAGE.image)), imageFd);
  } finally {
    await reader.close();
  }
}

/** The whole look inside, with a sampled estimate of how well each class compresses. */
export async function reportImage(
  imageFd: number,
  options: ReaderOptions = {},
  disks: readonly ReadableDisk[] = [],
): Promise<{ image: ImageFacts; inspection: InspectionFacts; references: ReferenceFacts | null }> {
  const reader = new Reader('report', imageFd, options, disks);
  try {
    const image = factsOfImage(parseJson(await reader.expect(MESSAGE.image)), imageFd);
    const inspection = inspectionFacts(parseJson(await reader.expect(MESSAGE.inspection)), image.bytes);
    return { image, inspection, references: await reader.references(disks, inspection) };
  } finally {
    await reader.close();
  }
}
