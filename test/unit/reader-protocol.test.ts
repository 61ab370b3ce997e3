// SPDX-License-Identifier: Apache-2.0
/**
 * What the parent does with answers that no sound reader gives: the reader has read hostile bytes and may be
 * anybody's by then (R1).
 */
import type * as ChildProcessModule from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { PAGE_CLASSES } from '../../src/page-classes.js';
import { PackSession } from '../../src/reader/pack-session.js';
import { probeImage, reportImage } from '../../src/reader/reader.js';
import type { Stripe } from '../../src/reader/stripe.js';
import { ImageBuilder, UUID } from '../support/image-builder.js';

/** A shell script that stands in for the reader: $0 holds its answers. */
const stand = vi.hoisted(() => ({ script: 'cat "$0" >&4', answers: '' }));
vi.mock('node:child_process', async (original) => {
  const actual = await original<typeof ChildProcessModule>();
  const spawn = (
    _: string,
    __: string[],
    options: ChildProcessModule.SpawnOptions,
  ): ChildProcessModule.ChildProcess => actual.spawn('/bin/sh', ['-c', stand.script, stand.answers], options);
  return { ...actual, spawn };
});

/** As long as the reader's own, which is the least that the parent takes of a raw image. */
const HEAD_BYTES = 4 << 20;
const BYTES = HEAD_BYTES + 2 * 8192;
/** A header, zeros, and the record of a page at the beginning of each stripe behind the head. */
const IMAGE_BYTES = Buffer.alloc(BYTES);
const HEADER = new ImageBuilder().header();
HEADER.build().copy(IMAGE_BYTES);
for (const at of [HEAD_BYTES, HEAD_BYTES + 8192]) IMAGE_BYTES.writeBigUInt64BE(0x28n, at);
let directory: string, fd: number;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pars-protocol-'));
  writeFileSync(join(directory, 'image'), IMAGE_BYTES);
  fd = openSync(join(directory, 'image'), 'r');
  stand.script = 'cat "$0" >&4';
});
afterEach(() => {
  closeSync(fd);
  rmSync(directory, { recursive: true, force: true });
});

function message(type: number, payload: Buffer | object): Buffer {
  const bytes = Buffer.isBuffer(payload) ? payload : Buffer.from(JSON.stringify(payload));
  const header = Buffer.alloc(8);
  header.writeUInt32LE(type, 0);
  header.writeUInt32LE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
}

const DOMAIN = {
  name: 'guest',
  uuid: UUID,
  architecture: 'x86_64',
  machine: 'pc',
  memoryBytes: 1 << 20,
  disks: [],
  policy: null,
  optOut: false,
  acceptChangedDisks: false,
  acceptUncomparedDisks: false,
  diskReferences: true,
};
const IMAGE = {
  bytes: BYTES,
  format: 'raw',
  wasRunning: true,
  streamOffset: HEADER.at,
  domain: DOMAIN,
  headEnd: HEAD_BYTES,
  headDigest: 'ab'.repeat(32),
  stubRecord: null,
};
const COUNTS = { pages: 4, payloadPages: 2, fillPages: 1, zeroPages: 1 };
const INSPECTION = {
  guest: { introspected: true, kernel: '6.1.0', reason: null },
  ram: { pageSize: 4096, pages: 48, zeroPages: 12 },
  classes: Object.fromEntries(PAGE_CLASSES.map((name) => [name, COUNTS])),
  notes: [{ text: 'a note', pages: 1 }],
  reasons: [{ class: 'other-cache', reason: 'references', rule: 'R9', text: 'held', pages: 1 }],
  stream: { machine: 'pc', payloadRecords: 1, zeroRecords: 1, repeatedRecords: 0, mappedBlocks: [] },
  recovery: { folios: 1, writes: 1 },
};
const LOOK = [message(1, IMAGE), message(3, INSPECTION)];
const END = message(8, {});

interface Table {
  kind: number;
  bytes: Buffer;
}

function stripe(offset: number, bytes: number, tables: Table[], announced = tables.length): Buffer {
  const head = Buffer.alloc(20);
  head.writeBigUInt64LE(BigInt(offset), 0);
  head.writeBigUInt64LE(BigInt(bytes), 8);
  head.writeUInt32LE(announced, 16);
  return Buffer.concat([message(6, head), ...tables.map(table)]);
}

const table = ({ kind, bytes }: Table): Buffer => message(7, Buffer.concat([Buffer.of(kind), bytes]));

/** Run count, then the runs. */
function runsOf(...runs: [lead: number, pages: number, header: number, source: number][]): Table {
  const bytes = Buffer.alloc(4 + 16 * runs.length);
  bytes.writeUInt32LE(runs.length, 0);
  for (const [i, [lead, pages, header, source]] of runs.entries()) {
    bytes.writeUInt32LE(lead, 4 + 16 * i);
    bytes.writeUInt32LE(pages, 8 + 16 * i);
    bytes.writeUInt16LE(header, 12 + 16 * i);
    bytes.writeUInt8(source, 14 + 16 * i);
  }
  return { kind: 13, bytes };
}

/** All skeleton. */
const skeleton = (bytes: number): Table => runsOf([bytes, 0, 0, 0]);
/** A stripe of 8192 bytes with one page of kernel memory, or of another class. */
const withPage = (offset: number, source = 0): Buffer =>
  stripe(offset, 8192, [runsOf([8, 1, 8, source], [4088, 0, 0, 0])]);
const noRecovery: Table = { kind: 14, bytes: Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]) };
/** What nobody can say of an image, whatever its bytes are. */
const IMPOSSIBLE = { kind: 'corrupt', message: expect.stringContaining('invalid response') as string };

function answer(...messages: Buffer[]): void {
  stand.answers = join(directory, 'answers');
  writeFileSync(stand.answers, Buffer.concat(messages));
}

async function pack(stored = PAGE_CLASSES): Promise<Stripe[]> {
  const session = await PackSession.look(fd);
  try {
    const stripes: Stripe[] = [];
    for await (const one of session.pack(stored)) stripes.push(one);
    return stripes;
  } finally {
    await session.close();
  }
}

function childrenOf(pid: number): number {
  return readdirSync('/proc').filter((entry) => {
    try {
      return /^\d+$/.test(entry) && readFileSync(`/proc/${entry}/status`, 'utf8').includes(`PPid:\t${pid}\n`);
    } catch {
      return false;
    }
  }).length;
}

const HEAD = stripe(0, HEAD_BYTES, [skeleton(HEAD_BYTES)]);

it('sound answers are believed', async () => {
  answer(...LOOK, HEAD, withPage(HEAD_BYTES), withPage(HEAD_BYTES + 8192), END);
  expect((await pack()).map((one) => one.imageOffset)).toEqual([0, HEAD_BYTES, HEAD_BYTES + 8192]);
});

describe('a sparse image', () => {
  const bytes = Buffer.alloc(3 * 8192);
  const header = new ImageBuilder().header({ format: 6 });
  header.build().copy(bytes);
  bytes.writeUInt32BE(1, 8192);
  for (const [i, field] of [4096, 8220, 12288].entries()) bytes.writeBigUInt64BE(BigInt(field), 8196 + 8 * i);
  const block = { bitmapOffset: 8220, pagesOffset: 12288, bytes: 8192 };

  beforeEach(() => writeFileSync(join(directory, 'image'), bytes));

  const mapped = (mappedBlocks: object[]): Buffer[] => [
    message(1, { ...IMAGE, bytes: bytes.length, format: 'sparse', headEnd: header.at }),
    message(3, { ...INSPECTION, stream: { ...INSPECTION.stream, mappedBlocks } }),
  ];
  const kept = (from: number, to: number): Buffer => stripe(from, to - from, [skeleton(to - from)]);
  /** All that lies before the block's pages. */
  const lead = [kept(0, header.at), kept(header.at, 12288)];

  it('may have holes', async () => {
    answer(...mapped([block]), ...lead, stripe(12288, 8192, []), kept(20480, 24576), END);
    expect((await pack())[2]).toEqual({ imageOffset: 12288, imageBytes: 8192, frames: [] });
  });

  it.each([
    ['a hole past its end', [block], stripe(12288, 2 ** 40, [])],
    ['a hole of no bytes', [block], stripe(12288, 0, [])],
    ['blocks past its end', [{ ...block, bytes: 24576 }], stripe(12288, 8192, [])],
    ['blocks that are none', [{ ...block, bytes: -4096 }], stripe(12288, 8192, [])],
  ])('with %s is not believed', async (_, blocks, hole) => {
    answer(...mapped(blocks), ...lead, hole, kept(20480, 24576), END);
    await expect(pack()).rejects.toMatchObject({ kind: 'corrupt' });
  });
});

describe('stripes', () => {
  it.each([
    ['a gap', [HEAD, withPage(HEAD_BYTES + 8192), END]],
    ['an overlap', [HEAD, withPage(0), END]],
    ['an end too soon', [HEAD, END]],
    [
      'more than the image',
      [HEAD, withPage(HEAD_BYTES), withPage(HEAD_BYTES + 8192), withPage(HEAD_BYTES + 16384), END],
    ],
    ['no bytes', [stripe(0, 0, [skeleton(0)]), END]],
    ['more bytes than any stripe', [stripe(0, 2 ** 40, [skeleton(HEAD_BYTES)]), END]],
    ['no tables', [stripe(0, HEAD_BYTES, []), END]],
    ['no run table', [stripe(0, HEAD_BYTES, [noRecovery]), END]],
    [
      'fewer tables than announced',
      [stripe(0, HEAD_BYTES, [skeleton(HEAD_BYTES)], 2), withPage(HEAD_BYTES), END],
    ],
    ['a table too many', [HEAD, table(noRecovery), END]],
    ['more tables than kinds', [stripe(0, HEAD_BYTES, [skeleton(HEAD_BYTES)], 2 ** 31)]],
  ])('with %s are not', async (_, messages) => {
    answer(...LOOK, ...messages);
    await expect(pack()).rejects.toMatchObject(IMPOSSIBLE);
  });
});

describe('tables', () => {
  const behindHead = [withPage(HEAD_BYTES), withPage(HEAD_BYTES + 8192), END];

  it.each<[string, Table[]]>([
    ['of no kind', [skeleton(HEAD_BYTES), { kind: 99, bytes: Buffer.alloc(8) }]],
    ['of the pages themselves', [skeleton(HEAD_BYTES), { kind: 0, bytes: Buffer.alloc(4096) }]],
    [
      'of references where no disk was compared',
      [skeleton(HEAD_BYTES), { kind: 15, bytes: Buffer.alloc(40) }],
    ],
    ['of one kind twice', [skeleton(HEAD_BYTES), skeleton(HEAD_BYTES)]],
    ['longer than any', [{ kind: 13, bytes: Buffer.alloc(40 << 20) }]],
  ])('%s are not believed', async (_, tables) => {
    answer(...LOOK, stripe(0, HEAD_BYTES, tables), ...behindHead);
    await expect(pack()).rejects.toMatchObject(IMPOSSIBLE);
  });

  it.each<[string, Table[]]>([
    ['a run table of no bytes', [{ kind: 13, bytes: Buffer.alloc(0) }]],
    ['runs shorter than the stripe', [skeleton(HEAD_BYTES - 1)]],
    ['runs longer than the stripe', [runsOf([8, 2 ** 31, 8, 0])]],
    ['pages of the guest in the head', [runsOf([HEAD_BYTES - 4096, 1, 8, 0])]],
    ['a recovery that cannot be read', [skeleton(HEAD_BYTES), { kind: 14, bytes: Buffer.alloc(3) }]],
  ])('%s: the image has no such stripe', async (_, tables) => {
    answer(...LOOK, stripe(0, HEAD_BYTES, tables), ...behindHead);
    await expect(pack()).rejects.toMatchObject({ kind: 'corrupt' });
  });

  it('of clean cache come with its recovery', async () => {
    answer(...LOOK, HEAD, withPage(HEAD_BYTES, 2), withPage(HEAD_BYTES + 8192), END);
    await expect(pack()).rejects.toMatchObject(IMPOSSIBLE);
  });
});

describe('messages', () => {
  it.each([
    ['longer than any', Buffer.from([1, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f])],
    ['of an unknown type', message(77, {})],
    ['out of turn', message(3, INSPECTION)],
    ['that is no JSON', message(1, Buffer.from('{'))],
    ['that is no object', message(1, Buffer.from('[]'))],
    ['with an error without a text', message(4, {})],
  ])('%s end it', async (_, first) => {
    answer(first);
    await expect(probeImage(fd)).rejects.toMatchObject({ kind: 'corrupt' });
  });

  it("of error are the image's, cut to a sensible length", async () => {
    answer(message(4, { code: 'bad-magic', offset: 7, message: 'x'.repeat(100_000) }));
    const error = (await probeImage(fd).then(
      () => null,
      (e: unknown) => e,
    )) as Error & { code: string; offset: number };
    expect(error).toMatchObject({ code: 'bad-magic', offset: 7, kind: 'corrupt' });
    expect(error.message.length).toBeLessThan(1000);
  });
});

describe('facts', () => {
  it.each<[string, object]>([
    ['another length', { bytes: BYTES + 1 }],
    ['a stream outside the image', { streamOffset: BYTES + 1 }],
    ['a head outside the image', { headEnd: BYTES + 1 }],
    ['a head before the stream', { headEnd: 50 }],
    ['a head without a digest', { headDigest: null }],
    ['a negative offset', { streamOffset: -1 }],
    ['half a byte', { streamOffset: 1.5 }],
    ['a number too large', { streamOffset: 2 ** 60 }],
    ['a flag that is none', { wasRunning: 1 }],
    ['a record too long', { stubRecord: 'ab'.repeat(5000) }],
    ['a record that is no hex', { stubRecord: 'xyz' }],
    ['no domain', { domain: null }],
    ['a UUID that is a path', { domain: { ...DOMAIN, uuid: '../../etc' } }],
    ['a name that is too long', { domain: { ...DOMAIN, name: 'x'.repeat(10_000) } }],
  ])('of the image with %s are not believed', async (_, changes) => {
    answer(message(1, { ...IMAGE, ...changes }));
    await expect(probeImage(fd)).rejects.toMatchObject({ kind: 'corrupt' });
  });

  it.each<[string, object]>([
    ['pages that do not add up', { classes: { ...INSPECTION.classes, anon: { ...COUNTS, pages: 5 } } }],
    ['a class missing', { classes: { ...INSPECTION.classes, anon: undefined } }],
    ['another page size', { ram: { ...INSPECTION.ram, pageSize: 8192 } }],
    ['a reason of no class', { reasons: [{ class: 'lost', reason: 'x', rule: '', text: 'x', pages: 1 }] }],
    ['too many notes', { notes: new Array(5000).fill({ text: 'x', pages: 1 }) }],
    ['no guest', { guest: 'linux' }],
  ])('of the inspection with %s are not believed', async (_, changes) => {
    answer(message(1, IMAGE), message(3, { ...INSPECTION, ...changes }), END);
    await expect(reportImage(fd)).rejects.toMatchObject({ kind: 'corrupt' });
  });
});

describe('a reader that dies', () => {
  it.each(['SIGSYS', 'SIGKILL', 'SIGBUS', 'SIGSEGV'])('of %s is told so', async (signal) => {
    answer(message(1, IMAGE).subarray(0, 20));
    stand.script = `cat "$0" >&4; kill -${signal.slice(3)} $$`;
    await expect(probeImage(fd)).rejects.toThrow(signal);
  });

  it('of the time it took is told so', async () => {
    answer(message(1, IMAGE).subarray(0, 20));
    stand.script = `cat "$0" >&4; kill -XCPU $$`;
    await expect(probeImage(fd)).rejects.toMatchObject({
      message: expect.stringContaining('SIGXCPU') as string,
      hint: expect.stringContaining('processor time') as string,
    });
  });

  it('without a word is told with its exit code and what it said', async () => {
    answer();
    stand.script = 'echo it broke >&2; exit 9';
    await expect(probeImage(fd)).rejects.toThrow(/9.*it broke/s);
  });

  it('is not waited for once it has lied', async () => {
    answer(message(77, {}));
    stand.script = 'cat "$0" >&4; exec sleep 60';
    const before = childrenOf(process.pid),
      started = Date.now();
    await expect(probeImage(fd)).rejects.toMatchObject({ kind: 'corrupt' });
    expect(Date.now() - started).toBeLessThan(5000);
    await expect.poll(() => childrenOf(process.pid)).toBeLessThanOrEqual(before);
  });
});
