// SPDX-License-Identifier: Apache-2.0
/**
 * The header of a save image and the XML behind it, as this process reads them: whose image it is, and what
 * may be opened as its disks, is not left to the reader, which has read hostile bytes (R1). No XML is parsed
 * here: what the reader tells must stand in it.
 */
import { fstatSync, readSync } from 'node:fs';
import { COMMANDLINE } from '../disks/named-disk.js';
import { ParsError } from '../errors.js';
import type { DomainFacts, ImageFacts } from './inspection.js';
import { badAnswer, imageFacts } from './reader-answers.js';

const MAGIC = 'LibvirtQemudSave';
const HEADER_BYTES = 92;
const FORMATS = ['raw', 'gzip', 'bzip2', 'xz', 'lzop', 'zstd', 'sparse'];
/** No libvirt client can send longer XML. */
const MAX_XML_BYTES = 4 << 20;
/** With the cookie and padding behind it; real ones are a few KiB. */
const MAX_DATA_BYTES = 64 << 20;
/** Of a raw image the record of a stub stands behind so much at least (docs/format.md, "Stubs"). */
const LEAST_RAW_HEAD = 4 << 20;
/** Of a compressed one exactly so far behind the stream's start. */
export const PREAMBLE_BYTES = 1024;
const ATTRIBUTE = /([A-Za-z][\w:-]*)\s*=\s*(?:'([^'<]*)'|"([^"<]*)")/g;
const PATHS: ReadonlySet<string> = new Set(['file', 'dev']);

/** What the reader says of the image `fd`. Throws unless its header and XML say the same. */
export function factsOfImage(answer: unknown, fd: number): ImageFacts {
  const facts = imageFacts(answer, fstatSync(fd).size);
  agreeWithHeader(facts, fd);
  return facts;
}

/** Of whom the image `fd` says that it is; null when no save image begins like that. */
export function uuidOfImage(fd: number): string | null {
  const header = readHeader(fd);
  return header === null ? null : uuidIn(header.xml);
}

/** Throws 'corrupt' unless the image `fd` is of that guest: its XML is what libvirt will go by. */
export function refuseOtherGuest(fd: number, { uuid, name }: { uuid: string; name: string }): void {
  const header = readHeader(fd);
  if (header !== null && uuidIn(header.xml) === uuid && elementOf(header.xml, 'name') === name) return;
  throw new ParsError('corrupt', `the image's own XML is not that of the guest ${name} (${uuid})`, {
    hint: 'the snapshot says another guest than its image does: somebody may have changed the store',
  });
}

function agreeWithHeader({ streamOffset, format, headEnd, domain }: ImageFacts, fd: number): void {
  const header = readHeader(fd);
  if (header === null) throw badAnswer('an image where there is none');
  if (streamOffset !== header.streamOffset || format !== header.format)
    throw badAnswer('another stream than the image has');
  if (headEnd !== 0 && !isHeadEnd(headEnd, streamOffset, format)) throw badAnswer('a head of another length');
  agreeWithXml(domain, header.xml);
}

/** Recovery writes to what lies behind the head, and to nothing in it. */
function isHeadEnd(headEnd: number, streamOffset: number, format: string): boolean {
  if (format === 'sparse') return headEnd === streamOffset;
  if (format === 'raw') return headEnd >= LEAST_RAW_HEAD;
  return headEnd === streamOffset + PREAMBLE_BYTES;
}

/** Null when no save image begins like that. */
function readHeader(fd: number): { streamOffset: number; format: string | undefined; xml: string } | null {
  const header = readUpTo(fd, HEADER_BYTES, 0);
  if (header.length < HEADER_BYTES || header.toString('latin1', 0, MAGIC.length) !== MAGIC) return null;
  const dataBytes = header.readUInt32LE(20);
  if (dataBytes > MAX_DATA_BYTES) return null;
  const data = readUpTo(fd, Math.min(dataBytes, MAX_XML_BYTES + 1), HEADER_BYTES);
  const end = data.indexOf(0);
  return {
    streamOffset: HEADER_BYTES + dataBytes,
    format: FORMATS[header.readUInt32LE(28)],
    xml: data.toString('utf8', 0, Math.max(end, 0)),
  };
}

/** The guest's name and UUID are the first there are, as the hook has it; before them stands nothing else. */
function agreeWithXml({ name, uuid, disks }: DomainFacts, xml: string): void {
  if (uuidIn(xml) !== uuid) throw badAnswer("another guest's UUID");
  if (elementOf(xml, 'name') !== name) throw badAnswer("another guest's name");
  const values = new Set<string>(),
    paths = new Set<string>();
  for (const [, key = '', single, double] of xml.matchAll(ATTRIBUTE)) {
    const value = plain(single ?? double ?? '');
    values.add(value);
    if (PATHS.has(key)) paths.add(value);
  }
  for (const { type, source, target, pool, volume, network } of disks) {
    if (source !== '' && !paths.has(source)) throw badAnswer('a disk that the XML does not name');
    const named = [
      type === COMMANDLINE ? '' : target,
      pool,
      volume,
      ...(network === null ? [] : wordsOf(network)),
    ];
    if (named.some((word) => word !== '' && !values.has(word)))
      throw badAnswer('a disk that the XML does not name');
  }
}

function wordsOf({ hosts, ...network }: NonNullable<DomainFacts['disks'][number]['network']>): string[] {
  const { protocol, name, user, config, snapshot, query } = network;
  const servers = hosts.flatMap((host) => [host.name, host.port, host.socket]);
  return [protocol, name, user, config, snapshot, query, ...servers];
}

function uuidIn(xml: string): string {
  return elementOf(xml, 'uuid').trim().toLowerCase();
}

function elementOf(xml: string, name: string): string {
  const open = `<${name}>`,
    from = xml.indexOf(open),
    to = xml.indexOf('<', from + open.length);
  return from < 0 || to < 0 ? '' : plain(xml.slice(from + open.length, to));
}

const ENTITIES: Record<string, string> = { lt: '<', gt: '>', amp: '&', apos: "'", quot: '"' };

/** Text without its entities. */
function plain(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(/&(?:#x([0-9a-fA-F]{1,6})|#([0-9]{1,7})|(\w{2,4}));/g, (whole, hex, number, name) => {
    const known = ENTITIES[(name as string | undefined) ?? ''];
    if (known !== undefined) return known;
    const code = hex ? parseInt(hex as string, 16) : number ? Number(number) : NaN;
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

function readUpTo(fd: number, bytes: number, from: number): Buffer {
  const into = Buffer.alloc(bytes);
  let done = 0;
  while (done < bytes) {
    const read = readSync(fd, into, done, bytes - done, from + done);
    if (read === 0) break;
    done += read;
  }
  return into.subarray(0, done);
}
