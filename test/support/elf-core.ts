// SPDX-License-Identifier: Apache-2.0
/**
 * A second opinion on a guest's memory: its RAM, read from a raw save image by a reader that shares nothing
 * with the product's, written as an ELF core for makedumpfile, which finds free pages by its own knowledge of
 * kernels. Reading and writing are synchronous: a million small pieces, each of which would cost a turn of
 * the event loop.
 *
 *   const { excluded } = await countWithMakedumpfile('/path/NAME.save', 'pc');
 *   excluded.free;
 *
 * The call underneath is `makedumpfile --dry-run --show-stats -d 31 CORE OUT` (-d: 1 zero, 2 cache, 4 cache
 * with private state, 8 user data, 16 free pages). Its report is a partition: a page that is both free and
 * zero counts as one of them, so ask for 16 alone when free pages are what matters. Cache it counts is not
 * what is safe to lose: dirty, mapped and referenced pages are among it. Debian 12's 1.7.2 says that kernels
 * after 6.0 are not supported, yet its free pages equal the guest's own count on 5.10, 6.1, 6.12 and 7.2.
 */
import { execFile } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const PAGE = 4096;
const GIB = 2 ** 30;

/** `length` bytes of guest-physical memory at `gpa` lie in the source file at `offset`. */
export interface Segment {
  gpa: number;
  length: number;
  offset: number;
}

export interface Range {
  gpa: number;
  length: number;
}

/** Where a machine puts RAM of this size: below the PCI hole, and the rest from 4 GiB up. */
export function ramRanges(machine: 'pc' | 'q35', bytes: number): Range[] {
  const limit = machine === 'pc' ? 3.5 * GIB : 2.75 * GIB;
  const below = bytes < limit ? bytes : (machine === 'pc' ? 3 : 2) * GIB;
  return below === bytes
    ? [{ gpa: 0, length: bytes }]
    : [
        { gpa: 0, length: below },
        { gpa: 4 * GIB, length: bytes - below },
      ];
}

/** Reads a file forwards through one buffer; positions are exact. */
class Reader {
  #buffer = Buffer.alloc(1 << 20);
  #start = 0;
  #have = 0;

  constructor(
    readonly file: number,
    public position: number,
  ) {}

  take(length: number): Buffer {
    if (this.position < this.#start || this.position + length > this.#start + this.#have) this.#load();
    const at = this.position - this.#start;
    if (at + length > this.#have) throw new Error(`the image ends at ${this.#start + this.#have}`);
    this.position += length;
    return this.#buffer.subarray(at, at + length);
  }

  #load(): void {
    this.#start = this.position;
    this.#have = readSync(this.file, this.#buffer, 0, this.#buffer.length, this.position);
  }

  u8(): number {
    return this.take(1).readUInt8();
  }

  text(): string {
    return this.take(this.u8()).toString('latin1');
  }
}

const ZERO = 2,
  MEM_SIZE = 4,
  RAM_PAGE = 8,
  EOS = 0x10,
  CONTINUE = 0x20,
  FLUSH = 0x200;

/**
 * Every page record of a raw image's main RAM block, in the stream's order: a later one replaces an earlier.
 */
export function* ramRecords(image: number): Generator<{ at: number; offset: number } | { size: number }> {
  const reader = findRamSection(image);
  let block = '';
  for (;;) {
    const word = reader.take(8).readBigUInt64BE();
    const flags = Number(word & 0xfffn),
      at = Number(word & ~0xfffn);
    if (flags & EOS) {
      if (endOfRam(reader)) return;
      continue;
    }
    if (flags & MEM_SIZE) {
      for (let left = at; left > 0;) {
        const name = reader.text();
        const size = Number(reader.take(8).readBigUInt64BE());
        left -= size;
        if (isMain(name)) yield { size };
      }
      continue;
    }
    if (flags === FLUSH) continue;
    if (!(flags & CONTINUE)) block = reader.text();
    if (flags & ZERO) reader.take(1);
    else if (flags & RAM_PAGE) {
      if (isMain(block)) yield { at, offset: reader.position };
      reader.position += PAGE;
    } else throw new Error(`unknown RAM record 0x${flags.toString(16)} before ${reader.position}`);
  }
}

function isMain(block: string): boolean {
  return block === 'pc.ram' || block === 'ram-node0';
}

/** The stream follows libvirt's header and XML; `ram` announces itself in its first kilobytes. */
function findRamSection(image: number): Reader {
  const header = Buffer.alloc(92);
  readSync(image, header, 0, 92, 0);
  if (header.toString('latin1', 0, 16) !== 'LibvirtQemudSave') throw new Error('not a finished save image');
  if (header.readUInt32LE(28) !== 0) throw new Error('only raw images are read here');
  const stream = 92 + header.readUInt32LE(20);
  const head = Buffer.alloc(64 << 10);
  readSync(image, head, 0, head.length, stream);
  const at = head.indexOf('\x03ram', 0, 'latin1');
  if (head.toString('latin1', 0, 4) !== 'QEVM' || at < 0) throw new Error('no RAM section');
  return new Reader(image, stream + at + 4 + 8);
}

/**
 * After EOS: the section's footer, and then the next part of the same section, or after its end something
 * else.
 */
function endOfRam(reader: Reader): boolean {
  let kind = reader.u8();
  if (kind === 0x7e) {
    reader.take(4);
    kind = reader.u8();
  }
  for (; kind === 0x08 || kind === 0x04; kind = reader.u8()) {
    if (kind === 0x08) reader.take(reader.take(4).readUInt16BE(2));
    else if (!tookVirtioMem(reader)) return true;
  }
  if (kind !== 0x02 && kind !== 0x03) return true;
  reader.take(4);
  return false;
}

/** virtio-mem's section before the pages: address, length, block, node, size, a bit a block; a footer. */
function tookVirtioMem(reader: Reader): boolean {
  reader.take(4);
  if (!reader.text().endsWith('virtio-mem-device-early')) return false;
  const fields = reader.take(4 + 4 + 36);
  const blocks = Number(fields.readBigUInt64BE(16) / fields.readBigUInt64BE(24));
  reader.take(Math.ceil(blocks / 64) * 8 + 5);
  return true;
}

/** Writes the core; pages that no segment names stay holes, and read as zeros. */
export function writeElfCore(
  path: string,
  source: number,
  ranges: Range[],
  segments: Iterable<Segment>,
  vmcoreinfo: string,
): void {
  const head = elfHead(ranges, vmcoreinfo);
  const core = openSync(path, 'wx', 0o600);
  const buffer = Buffer.alloc(1 << 20);
  try {
    writeSync(core, head.bytes, 0, head.bytes.length, 0);
    ftruncateSync(core, head.dataAt + ranges.reduce((sum, range) => sum + range.length, 0));
    for (const segment of segments) {
      for (let done = 0; done < segment.length; done += buffer.length) {
        const length = Math.min(buffer.length, segment.length - done);
        readSync(source, buffer, 0, length, segment.offset + done);
        writeSync(core, buffer, 0, length, head.dataAt + positionIn(ranges, segment.gpa + done));
      }
    }
  } finally {
    closeSync(core);
  }
}

function positionIn(ranges: Range[], gpa: number): number {
  let before = 0;
  for (const { gpa: from, length } of ranges) {
    if (gpa >= from && gpa < from + length) return before + gpa - from;
    before += length;
  }
  throw new Error(`no RAM at 0x${gpa.toString(16)}`);
}

/**
 * ELF64 header, one PT_NOTE with the kernel's own description, one PT_LOAD a range; RAM data begins at a
 * page.
 */
function elfHead(ranges: Range[], vmcoreinfo: string): { bytes: Buffer; dataAt: number } {
  const note = elfNote('VMCOREINFO', Buffer.from(vmcoreinfo, 'latin1'));
  const noteAt = 64 + 56 * (1 + ranges.length);
  const dataAt = Math.ceil((noteAt + note.length) / PAGE) * PAGE;
  const bytes = Buffer.alloc(dataAt);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  bytes.writeUInt16LE(4, 16); // ET_CORE
  bytes.writeUInt16LE(62, 18); // EM_X86_64
  bytes.writeUInt32LE(1, 20);
  bytes.writeBigUInt64LE(64n, 32); // program headers follow this header
  bytes.writeUInt16LE(64, 52);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(1 + ranges.length, 56);
  programHeader(bytes, 64, { type: 4, offset: noteAt, virtual: 0n, physical: 0, size: note.length });
  let offset = dataAt;
  ranges.forEach(({ gpa, length }, i) => {
    // The direct map's place is random in the guest; makedumpfile walks page tables and only wants a
    // plausible one.
    const virtual = 0xffff888000000000n + BigInt(gpa);
    programHeader(bytes, 64 + 56 * (i + 1), { type: 1, offset, virtual, physical: gpa, size: length });
    offset += length;
  });
  bytes.set(note, noteAt);
  return { bytes, dataAt };
}

interface ProgramHeader {
  type: number;
  offset: number;
  virtual: bigint;
  physical: number;
  size: number;
}

function programHeader(bytes: Buffer, at: number, header: ProgramHeader): void {
  bytes.writeUInt32LE(header.type, at);
  bytes.writeUInt32LE(7, at + 4);
  bytes.writeBigUInt64LE(BigInt(header.offset), at + 8);
  bytes.writeBigUInt64LE(header.virtual, at + 16);
  bytes.writeBigUInt64LE(BigInt(header.physical), at + 24);
  bytes.writeBigUInt64LE(BigInt(header.size), at + 32);
  bytes.writeBigUInt64LE(BigInt(header.size), at + 40);
}

function elfNote(name: string, description: Buffer): Buffer {
  const padded = (length: number): number => Math.ceil(length / 4) * 4;
  const body = 12 + padded(name.length + 1);
  const note = Buffer.alloc(body + padded(description.length));
  note.writeUInt32LE(name.length + 1, 0);
  note.writeUInt32LE(description.length, 4);
  note.write(name, 12, 'latin1');
  note.set(description, body);
  return note;
}

export interface MakedumpfileCounts {
  total: number;
  /** Pages by makedumpfile's reasons to leave them out at the dump level asked for. */
  excluded: { zero: number; cache: number; cachePrivate: number; user: number; free: number };
  report: string;
}

/**
 * Takes the first page that begins like VMCOREINFO: not for images with planted copies, give `vmcoreinfo` for
 * those.
 */
export async function countWithMakedumpfile(
  image: string,
  machine: 'pc' | 'q35',
  options: { level?: number; vmcoreinfo?: string; scratch?: string } = {},
): Promise<MakedumpfileCounts> {
  const dir = await mkdtemp(join(options.scratch ?? process.env['TMPDIR'] ?? '/var/tmp', 'pars-core.'));
  const source = openSync(image, 'r');
  try {
    const { segments, size, vmcoreinfo } = survey(source, machine);
    const core = join(dir, 'core');
    writeElfCore(core, source, ramRanges(machine, size), segments, options.vmcoreinfo ?? vmcoreinfo);
    return await makedumpfile(core, options.level ?? 16);
  } finally {
    closeSync(source);
    await rm(dir, { recursive: true, force: true });
  }
}

function survey(
  source: number,
  machine: 'pc' | 'q35',
): { segments: Segment[]; size: number; vmcoreinfo: string } {
  let size = 0,
    vmcoreinfo = '';
  const found: Segment[] = [];
  const page = Buffer.alloc(PAGE);
  for (const record of ramRecords(source)) {
    if ('size' in record) {
      size = record.size;
      continue;
    }
    const below = ramRanges(machine, size)[0]?.length ?? 0;
    found.push({
      gpa: record.at < below ? record.at : record.at - below + 4 * GIB,
      length: PAGE,
      offset: record.offset,
    });
    if (vmcoreinfo !== '') continue;
    readSync(source, page, 0, PAGE, record.offset);
    if (page.toString('latin1', 0, 10) === 'OSRELEASE=')
      vmcoreinfo = page.toString('latin1').split('\0', 1)[0] ?? '';
  }
  return { segments: found, size, vmcoreinfo };
}

/** Throws makedumpfile's own words when it does not know the kernel. */
export async function makedumpfile(core: string, level: number): Promise<MakedumpfileCounts> {
  const args = ['--dry-run', '--show-stats', '-d', String(level), core, `${core}.out`];
  const { stdout, stderr } = await promisify(execFile)('makedumpfile', args, {
    env: { ...process.env, LC_ALL: 'C' },
  });
  const report = stdout + stderr;
  const count = (label: string): number => {
    const hit = new RegExp(`${label}\\s*: (0x)?([0-9a-f]+)`).exec(report);
    return hit?.[2] === undefined ? NaN : parseInt(hit[2], hit[1] ? 16 : 10);
  };
  const excluded = {
    zero: count('Pages filled with zero'),
    cache: count('Non-private cache pages'),
    cachePrivate: count('Private cache pages'),
    user: count('User process data pages'),
    free: count('Free pages'),
  };
  return { total: count('Total pages'), excluded, report };
}
