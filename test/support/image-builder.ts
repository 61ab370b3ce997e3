// SPDX-License-Identifier: Apache-2.0
/**
 * Writes small save images piece by piece, as libvirt and QEMU would, or with one piece wrong (formats:
 * docs/format.md).
 */

export const UUID = '0f0e0d0c-0b0a-0908-0706-050403020100';
export const PAGE = 4096;
/** Nothing before this offset is ever punched: a stub's head is at least so long. */
export const HEAD_BYTES = 4 << 20;
export const STUB_MAGIC = Buffer.from([0x50, 0x41, 0x52, 0x53, 0x53, 0x54, 0x5c, 0x01]);

/** Where QEMU begins the pages of a block of a sparse image. */
const MAPPED_ALIGNMENT = 1 << 20;
const RAM_SECTION = 2;
const FLAG = { zero: 0x02, memSize: 0x04, page: 0x08, eos: 0x10, continues: 0x20 } as const;

export interface DomainOptions {
  name?: string;
  uuid?: string;
  memoryMiB?: number;
  /** XML inside <metadata>. */
  metadata?: string;
}

export function domainXml({
  name = 'guest',
  uuid = UUID,
  memoryMiB = 32,
  metadata = '',
}: DomainOptions = {}): string {
  return (
    `<domain type='kvm'><name>${name}</name><uuid>${uuid}</uuid><memory unit='MiB'>${memoryMiB}</memory>`
    + `<metadata>${metadata}</metadata>`
    + `<os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type></os></domain>`
  );
}

/** A page that is not one repeated word, the same for the same seed, with no random part. */
export function noisePage(seed: number): Buffer {
  const page = Buffer.alloc(PAGE);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let at = 0; at < PAGE; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    page.writeUInt32LE(state, at);
  }
  return page;
}

/** Pages of a block of a sparse image, by their frames. */
export interface MappedPages {
  frames: number;
  pages: ReadonlyMap<number, Buffer>;
}

export class ImageBuilder {
  readonly #parts: Buffer[] = [];
  #length = 0;

  /** Where the next piece will stand. */
  get at(): number {
    return this.#length;
  }

  build(): Buffer {
    return Buffer.concat(this.#parts);
  }

  raw(bytes: Buffer | string): this {
    const buffer = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
    this.#parts.push(buffer);
    this.#length += buffer.length;
    return this;
  }

  header(
    options: {
      xml?: string;
      magic?: string;
      version?: number;
      format?: number;
      wasRunning?: number;
      padding?: number;
    } = {},
  ): this {
    const {
      xml = domainXml(),
      magic = 'LibvirtQemudSave',
      version = 2,
      format = 0,
      wasRunning = 1,
      padding = 100,
    } = options;
    const head = Buffer.alloc(92),
      text = Buffer.from(xml);
    head.write(magic, 'latin1');
    [version, text.length + 1 + padding, wasRunning, format].forEach((value, i) =>
      head.writeUInt32LE(value, 16 + 4 * i),
    );
    return this.raw(head)
      .raw(text)
      .raw(Buffer.alloc(1 + padding));
  }

  /** From the stream's magic to the end of the RAM section that lists the blocks. */
  ramStart(blocks: Record<string, number>, machine = 'pc-i440fx-7.2'): this {
    const total = Object.values(blocks).reduce((sum, bytes) => sum + bytes, 0);
    this.raw('QEVM').raw(be32(3)).raw(u8(7)).raw(be32(machine.length)).raw(machine);
    this.raw(u8(1))
      .raw(be32(RAM_SECTION))
      .raw(text8('ram'))
      .raw(be32(0))
      .raw(be32(4))
      .raw(be64(total + FLAG.memSize));
    for (const [name, bytes] of Object.entries(blocks)) this.raw(text8(name)).raw(be64(bytes));
    return this.eos();
  }

  /**
   * The same of a sparse image: a block's pages have their places here, and those that are not given are
   * zero.
   */
  mappedStart(blocks: Record<string, MappedPages>, machine = 'pc-i440fx-10.0'): this {
    const total = Object.values(blocks).reduce((sum, { frames }) => sum + frames * PAGE, 0);
    this.raw('QEVM').raw(be32(3)).raw(u8(7)).raw(be32(machine.length)).raw(machine);
    this.raw(u8(5))
      .raw(text8('configuration/capabilities'))
      .raw(be32(1))
      .raw(be32(1))
      .raw(text8('mapped-ram'));
    this.raw(u8(1))
      .raw(be32(RAM_SECTION))
      .raw(text8('ram'))
      .raw(be32(0))
      .raw(be32(4))
      .raw(be64(total + FLAG.memSize));
    for (const [name, block] of Object.entries(blocks)) this.#mappedBlock(name, block);
    return this.eos();
  }

  #mappedBlock(name: string, { frames, pages }: MappedPages): void {
    this.raw(text8(name)).raw(be64(frames * PAGE));
    const bitmap = Buffer.alloc(Math.ceil(frames / 64) * 8),
      places = Buffer.alloc(frames * PAGE);
    for (const [frame, contents] of pages) {
      bitmap[frame >> 3]! |= 1 << (frame & 7);
      contents.copy(places, frame * PAGE);
    }
    const bitmapAt = this.at + 28,
      pagesAt = Math.ceil((bitmapAt + bitmap.length) / MAPPED_ALIGNMENT) * MAPPED_ALIGNMENT;
    this.raw(be32(1))
      .raw(be64(PAGE))
      .raw(be64(bitmapAt))
      .raw(be64(pagesAt))
      .raw(bitmap)
      .raw(Buffer.alloc(pagesAt - bitmapAt - bitmap.length))
      .raw(places);
  }

  /** The end of a RAM section. */
  eos(): this {
    return this.raw(be64(FLAG.eos)).raw(u8(0x7e)).raw(be32(RAM_SECTION));
  }

  part(): this {
    return this.raw(u8(2)).raw(be32(RAM_SECTION));
  }

  ramEnd(): this {
    return this.raw(u8(3)).raw(be32(RAM_SECTION)).eos();
  }

  /** A page record; with `block` it names its block. */
  page(frame: number, contents: Buffer, block?: string): this {
    return this.#record(frame, FLAG.page, block).raw(contents);
  }

  zero(frame: number, block?: string): this {
    return this.#record(frame, FLAG.zero, block).raw(u8(0));
  }

  /** Device state nobody can read, and the description that would tell what it is. */
  devices(bytes = 1000): this {
    const json = '{"devices":[]}';
    return this.raw(Buffer.alloc(bytes, 0xdd)).raw(u8(0)).raw(u8(6)).raw(be32(json.length)).raw(json);
  }

  #record(frame: number, flag: number, block?: string): this {
    const word = be64(frame * PAGE + flag + (block === undefined ? FLAG.continues : 0));
    return this.raw(word).raw(block === undefined ? Buffer.alloc(0) : text8(block));
  }
}

export interface SmallImage {
  bytes: Buffer;
  streamOffset: number;
  /** Where the first RAM record at or after HEAD_BYTES stands. */
  headEnd: number;
}

/**
 * A sound image of 24 MiB of RAM: noise, zero pages, pages that repeat a word, pages sent twice. No kernel is
 * in it, so nothing of it can be introspected. With `sectionAtHead` a RAM section ends exactly where the head
 * could, so that its end comes a few bytes later.
 */
export function smallImage(
  options: { xml?: string; frames?: number; sectionAtHead?: boolean } = {},
): SmallImage {
  const { frames = 6144, sectionAtHead = false } = options;
  const image = new ImageBuilder().header(options.xml === undefined ? {} : { xml: options.xml });
  const streamOffset = image.at;
  image
    .ramStart({ 'pc.ram': frames * PAGE, 'vga.vram': 16 * PAGE })
    .part()
    .page(0, noisePage(0), 'pc.ram');
  let headEnd = 0;
  for (let frame = 1; frame < frames; frame++) {
    if (headEnd === 0 && image.at >= HEAD_BYTES) {
      if (sectionAtHead) image.eos().part();
      headEnd = image.at;
    }
    addFrame(image, frame);
  }
  image.page(1, noisePage(9999)).zero(3, 'vga.vram').eos().ramEnd().devices();
  return { bytes: image.build(), streamOffset, headEnd };
}

/** The same memory, saved as sparse: zero pages have no bit, and a long run of them lies in the midst. */
export function sparseImage(options: { frames?: number } = {}): Omit<SmallImage, 'headEnd'> {
  const { frames = 6144 } = options;
  const pages = new Map<number, Buffer>();
  for (let frame = 0; frame < frames; frame++) {
    const page = contentsOf(frame),
      inHole = frame >= HOLE.first && frame < HOLE.end;
    if (page !== null && !inHole) pages.set(frame, page);
  }
  const image = new ImageBuilder().header({ format: 6 });
  const streamOffset = image.at;
  image
    .mappedStart({
      'pc.ram': { frames, pages },
      'vga.vram': { frames: 16, pages: new Map([[3, noisePage(3)]]) },
    })
    .part()
    .eos()
    .ramEnd()
    .devices();
  return { bytes: image.build(), streamOffset };
}

/** Zero pages in a row. */
export const HOLE = { first: 1000, end: 1700 } as const;

/** Null: a zero page. */
function contentsOf(frame: number): Buffer | null {
  if (frame % 5 === 0 || frame % 11 === 0) return null;
  return frame % 7 === 0 ? Buffer.alloc(PAGE, Buffer.from('aabbccdd00112233', 'hex')) : noisePage(frame);
}

function addFrame(image: ImageBuilder, frame: number): void {
  if (frame % 5 === 0) image.zero(frame);
  else if (frame % 7 === 0) image.page(frame, Buffer.alloc(PAGE, Buffer.from('aabbccdd00112233', 'hex')));
  else if (frame % 11 === 0) image.page(frame, Buffer.alloc(PAGE));
  else image.page(frame, noisePage(frame));
  if (frame % 500 === 0) image.eos().part();
}

function u8(value: number): Buffer {
  return Buffer.from([value]);
}

function be32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value);
  return buffer;
}

function be64(value: number): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64BE(BigInt(value));
  return buffer;
}

function text8(text: string): Buffer {
  return Buffer.concat([u8(text.length), Buffer.from(text)]);
}
