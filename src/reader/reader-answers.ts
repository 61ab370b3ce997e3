// SPDX-License-Identifier: Apache-2.0
/**
 * Checks of what the reader answers. The reader has looked at hostile bytes: until every number of an answer
 * is within range, nothing uses it (R1). Written by hand: a validation library would cost more start-up time
 * than the whole look inside.
 */
import type { NamedDisk, NetworkSource } from '../disks/named-disk.js';
import { ParsError } from '../errors.js';
import type {
  ClassFacts,
  DomainFacts,
  ImageFacts,
  InspectionFacts,
  MappedBlock,
  ReasonFacts,
  ReferenceFacts,
} from './inspection.js';
import { faultOfBlocks } from './mapped-blocks.js';
import { isUuid } from '../system/uuid.js';
import { PAGE_BYTES, PAGE_CLASSES, type PageClass } from '../page-classes.js';

const MAX_TEXT = 4096;
const MAX_LIST = 4096;

export function badAnswer(what: string): ParsError {
  return new ParsError('corrupt', `pars-reader sent an invalid response: ${what}`, {
    hint: 'the image may be hostile; keep it and report this',
  });
}

export type Fields = Record<string, unknown>;

export function fields(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw badAnswer(`${what} is not an object`);
  return value as Fields;
}

export function count(from: Fields, key: string): number {
  const value = from[key];
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw badAnswer(`${key} is not a count`);
  return value;
}

export function text(from: Fields, key: string): string {
  const value = from[key];
  if (typeof value !== 'string' || value.length > MAX_TEXT) throw badAnswer(`${key} is not text`);
  return value;
}

function textOrNull(from: Fields, key: string): string | null {
  return from[key] === null ? null : text(from, key);
}

export function flag(from: Fields, key: string): boolean {
  const value = from[key];
  if (typeof value !== 'boolean') throw badAnswer(`${key} is not a flag`);
  return value;
}

export function list(from: Fields, key: string): unknown[] {
  const value = from[key];
  if (!Array.isArray(value) || value.length > MAX_LIST) throw badAnswer(`${key} is not a list`);
  return value;
}

function hexOrNull(from: Fields, key: string, maxBytes: number): Buffer | null {
  const value = from[key];
  if (value === null) return null;
  if (typeof value !== 'string' || value.length > maxBytes * 2 || !/^(?:[0-9a-f]{2})+$/.test(value))
    throw badAnswer(`${key} is not hex`);
  return Buffer.from(value, 'hex');
}

function namedDisk(value: unknown): NamedDisk {
  const from = fields(value, 'a disk');
  return {
    target: text(from, 'target'),
    type: text(from, 'type'),
    device: text(from, 'device'),
    source: text(from, 'source'),
    format: text(from, 'format'),
    readOnly: flag(from, 'readOnly'),
    pool: text(from, 'pool'),
    volume: text(from, 'volume'),
    network: from['network'] === null ? null : networkSource(from['network']),
    backing: list(from, 'backing').map((one) => {
      const b = fields(one, 'what is below a disk');
      return { source: text(b, 'source'), format: text(b, 'format') };
    }),
  };
}

function networkSource(value: unknown): NetworkSource {
  const from = fields(value, 'a network disk');
  return {
    protocol: text(from, 'protocol'),
    name: text(from, 'name'),
    hosts: list(from, 'hosts').map((host) => {
      const h = fields(host, 'a server');
      const [transport, name] = [text(h, 'transport'), text(h, 'name')];
      return { transport, name, port: text(h, 'port'), socket: text(h, 'socket') };
    }),
    tls: flag(from, 'tls'),
    user: text(from, 'user'),
    secret: flag(from, 'secret'),
    config: text(from, 'config'),
    snapshot: text(from, 'snapshot'),
    query: text(from, 'query'),
  };
}

export function domainFacts(value: unknown): DomainFacts {
  const from = fields(value, 'the domain');
  const uuid = text(from, 'uuid');
  if (!isUuid(uuid)) throw badAnswer('the UUID is none');
  return {
    name: text(from, 'name'),
    uuid,
    machine: text(from, 'machine'),
    memoryBytes: count(from, 'memoryBytes'),
    disks: list(from, 'disks').map(namedDisk),
    policy: textOrNull(from, 'policy'),
    optOut: flag(from, 'optOut'),
    acceptChangedDisks: flag(from, 'acceptChangedDisks'),
    acceptUncomparedDisks: flag(from, 'acceptUncomparedDisks'),
    diskReferences: flag(from, 'diskReferences'),
  };
}

export function imageFacts(value: unknown, fileBytes: number): ImageFacts {
  const from = fields(value, 'the image');
  const facts: ImageFacts = {
    bytes: count(from, 'bytes'),
    format: text(from, 'format'),
    wasRunning: flag(from, 'wasRunning'),
    streamOffset: count(from, 'streamOffset'),
    domain: domainFacts(from['domain']),
    headEnd: count(from, 'headEnd'),
    headDigest: hexOrNull(from, 'headDigest', 32)?.toString('hex') ?? null,
    stubRecord: hexOrNull(from, 'stubRecord', 4096),
  };
  if (facts.bytes !== fileBytes) throw badAnswer('the image has another length');
  if (facts.streamOffset > facts.bytes || facts.headEnd > facts.bytes)
    throw badAnswer('an offset is outside the image');
  if (facts.headEnd !== 0 && (facts.headEnd < facts.streamOffset || facts.headDigest?.length !== 64))
    throw badAnswer('the head is not told whole');
  return facts;
}

function classFacts(value: unknown): ClassFacts {
  const from = fields(value, 'a class');
  const facts: ClassFacts = {
    pages: count(from, 'pages'),
    payloadPages: count(from, 'payloadPages'),
    fillPages: count(from, 'fillPages'),
    zeroPages: count(from, 'zeroPages'),
    sample: null,
  };
  if (facts.payloadPages + facts.fillPages + facts.zeroPages !== facts.pages)
    throw badAnswer('the pages of a class do not add up');
  if (from['headPages'] !== undefined) facts.headPages = count(from, 'headPages');
  if ((facts.headPages ?? 0) > facts.payloadPages) throw badAnswer('more pages in the head than there are');
  if (from['sample'] !== undefined) {
    const sample = fields(from['sample'], 'a sample');
    facts.sample = { pages: count(sample, 'pages'), compressedBytes: count(sample, 'compressedBytes') };
  }
  return facts;
}

function reasonFacts(value: unknown): ReasonFacts {
  const from = fields(value, 'a reason');
  const name = PAGE_CLASSES.find((known) => known === from['class']);
  if (name === undefined) throw badAnswer('a reason is of no class');
  return {
    class: name,
    reason: text(from, 'reason'),
    rule: text(from, 'rule'),
    text: text(from, 'text'),
    pages: count(from, 'pages'),
  };
}

function mappedBlocks(from: Fields, imageBytes: number): MappedBlock[] {
  const blocks = list(from, 'mappedBlocks').map((block) => {
    const b = fields(block, 'a block');
    return {
      bitmapOffset: count(b, 'bitmapOffset'),
      pagesOffset: count(b, 'pagesOffset'),
      bytes: count(b, 'bytes'),
    };
  });
  const fault = faultOfBlocks(blocks, imageBytes);
  if (fault !== null) throw badAnswer(fault);
  return blocks;
}

/** No class can have more pages on disks than it has pages. */
export function referenceFacts(value: unknown, { classes }: InspectionFacts): ReferenceFacts {
  const from = fields(value, 'the references'),
    equal = fields(from['equal'], 'the pages on disks');
  const facts: ReferenceFacts = {
    cached: count(from, 'cached'),
    placed: count(from, 'placed'),
    equal: Object.fromEntries(PAGE_CLASSES.map((name) => [name, count(equal, name)])) as Record<
      PageClass,
      number
    >,
    outOfTime: flag(from, 'outOfTime'),
  };
  if (PAGE_CLASSES.some((name) => facts.equal[name] > classes[name].payloadPages))
    throw badAnswer('more pages on disks than there are');
  return facts;
}

/** `imageBytes`: length of the image that was looked into. */
export function inspectionFacts(value: unknown, imageBytes: number): InspectionFacts {
  const from = fields(value, 'the inspection');
  const guest = fields(from['guest'], 'the guest'),
    ram = fields(from['ram'], 'the RAM'),
    stream = fields(from['stream'], 'the stream');
  const recovery = fields(from['recovery'], 'the recovery'),
    classes = fields(from['classes'], 'the classes');
  const entries = PAGE_CLASSES.map((name) => [name, classFacts(classes[name])] as const);
  const facts: InspectionFacts = {
    guest: {
      introspected: flag(guest, 'introspected'),
      kernel: textOrNull(guest, 'kernel'),
      reason: textOrNull(guest, 'reason'),
    },
    ram: { pageSize: count(ram, 'pageSize'), pages: count(ram, 'pages'), zeroPages: count(ram, 'zeroPages') },
    classes: Object.fromEntries(entries) as Record<PageClass, ClassFacts>,
    reasons: list(from, 'reasons').map(reasonFacts),
    notes: list(from, 'notes').map((note) => {
      const n = fields(note, 'a note');
      return { text: text(n, 'text'), pages: count(n, 'pages') };
    }),
    stream: {
      machine: text(stream, 'machine'),
      payloadRecords: count(stream, 'payloadRecords'),
      zeroRecords: count(stream, 'zeroRecords'),
      repeatedRecords: count(stream, 'repeatedRecords'),
      mappedBlocks: mappedBlocks(stream, imageBytes),
    },
    recovery: { folios: count(recovery, 'folios'), writes: count(recovery, 'writes') },
    ...((from['restCompressedBytes'] ?? null) !== null && {
      restCompressedBytes: count(from, 'restCompressedBytes'),
    }),
  };
  if (facts.ram.pageSize !== PAGE_BYTES) throw badAnswer('the page size is not 4096');
  return facts;
}
