// SPDX-License-Identifier: Apache-2.0
/**
 * The stub record: what stands in an image in place of its pages, and leads back to the snapshot
 * (docs/format.md, "Stub"). Nothing is ever written into a file unless its record, the manifest and the file
 * itself agree (R16).
 */
import { createHash } from 'node:crypto';
import { ParsError } from '../errors.js';
import type { Manifest } from '../snapshot/manifest.js';

export interface StubRecord {
  /** Random, hex, 32 digits; the manifest holds the same. */
  token: string;
  /** Lower case, with dashes. */
  domainUuid: string;
  /** Length of the image before it became a stub. */
  imageBytes: number;
  /** Where this record stands: the end of the head. */
  offset: number;
  /** SHA-256 of the file's bytes from the stream's start to this record, hex. */
  headDigest: string;
  snapshot: string;
  /** Where the snapshot was stored; for people, never opened. */
  storeUrl: string;
}

/** Read as a RAM record word its flags are 0xC01, which no QEMU accepts. */
export const STUB_MAGIC = Buffer.from([0x50, 0x41, 0x52, 0x53, 0x53, 0x54, 0x5c, 0x01]);
export const STUB_VERSION = 1;
/** No record of any version is longer. */
export const MAX_STUB_BYTES = 4096;

/** What file systems round up, and the record's own page. */
const SLACK_BYTES = 256 << 10;

/**
 * Whether a stub, whose record stands at `offset`, takes more of the disk than it needs: a copy without
 * holes.
 */
export function takesRoom(allocatedBytes: number, offset: number): boolean {
  return allocatedBytes > offset + SLACK_BYTES;
}

const FIXED_BYTES = 96;
const DIGEST_BYTES = 32;
const MAX_URL_BYTES = 1024;

/** The bytes of a record. A store URL of unreasonable length is cut: it is a hint only. */
export function encodeStub(record: StubRecord): Buffer {
  const snapshot = Buffer.from(record.snapshot);
  const url = Buffer.from(record.storeUrl).subarray(0, MAX_URL_BYTES);
  const body = Buffer.alloc(FIXED_BYTES + 2 + snapshot.length + 2 + url.length);
  STUB_MAGIC.copy(body, 0);
  body.writeUInt32LE(STUB_VERSION, 8);
  body.writeUInt32LE(body.length + DIGEST_BYTES, 12);
  body.write(record.token, 16, 16, 'hex');
  body.write(record.domainUuid.replaceAll('-', ''), 32, 16, 'hex');
  body.writeBigUInt64LE(BigInt(record.imageBytes), 48);
  body.writeBigUInt64LE(BigInt(record.offset), 56);
  body.write(record.headDigest, 64, 32, 'hex');
  writeText(body, writeText(body, FIXED_BYTES, snapshot), url);
  return Buffer.concat([body, sha256(body)]);
}

/**
 * The record that begins `bytes`, which were read at `offset` of the image; null when no record begins there.
 * Throws 'corrupt' for a record that is damaged or does not belong at this offset.
 */
export function decodeStub(bytes: Buffer, offset: number): StubRecord | null {
  if (!bytes.subarray(0, STUB_MAGIC.length).equals(STUB_MAGIC)) return null;
  const body = checkedBody(bytes);
  const [snapshot, afterSnapshot] = readText(body, FIXED_BYTES);
  const [storeUrl, end] = readText(body, afterSnapshot);
  if (end !== body.length) throw damaged('its texts do not fill it');
  const record: StubRecord = {
    token: body.toString('hex', 16, 32),
    domainUuid: formatUuid(body.toString('hex', 32, 48)),
    imageBytes: Number(body.readBigUInt64LE(48)),
    offset: Number(body.readBigUInt64LE(56)),
    headDigest: body.toString('hex', 64, 96),
    snapshot,
    storeUrl,
  };
  if (record.offset !== offset)
    throw damaged(`it says it stands at ${record.offset}, but was found at ${offset}`);
  return record;
}

/** What is known of the file a record was found in. */
export interface StubFile {
  path: string;
  bytes: number;
  domainUuid: string;
  /** SHA-256 of its bytes from the stream's start to the record, hex. */
  headDigest: string;
}

/**
 * Throws 'refused' unless record, manifest and file are of one offload. `packedBytes` is the length the file
 * gets when hydrated: a hydration that was killed late may have left it so. A compressed image has any length
 * then.
 */
export function checkStub(record: StubRecord, manifest: Manifest, file: StubFile, packedBytes: number): void {
  const expected: [what: string, expected: string | number, found: string | number][] = [
    ['snapshot', manifest.snapshot, record.snapshot],
    ['token', manifest.token, record.token],
    ['domain UUID of the record', manifest.domain.uuid, record.domainUuid],
    ['domain UUID of the file', manifest.domain.uuid, file.domainUuid],
    ['length in the record', manifest.image.bytes, record.imageBytes],
    ['place of the record', manifest.image.headEnd, record.offset],
    ['head digest of the record', manifest.image.headDigest, record.headDigest],
    ['head digest of the file', manifest.image.headDigest, file.headDigest],
    [
      'length of the file',
      manifest.image.rawBytes !== undefined || hydratedLength(manifest, file.bytes, packedBytes)
        ? file.bytes
        : manifest.image.bytes,
      file.bytes,
    ],
  ];
  for (const [what, want, found] of expected) {
    if (want !== found) throw disagreement(file.path, what, want, found);
  }
}

/**
 * A repair that gave pages up makes the image shorter: a hydration that was killed before it left a length in
 * between.
 */
function hydratedLength({ revision, image }: Manifest, bytes: number, packedBytes: number): boolean {
  return bytes === packedBytes || (revision > 0 && bytes > packedBytes && bytes < image.bytes);
}

function disagreement(path: string, what: string, want: string | number, found: string | number): ParsError {
  return new ParsError(
    'refused',
    `${path} is not the stub of its snapshot: ${what} should be ${want}, but is ${found}`,
    {
      hint:
        'nothing was written; if the snapshot is the right one, write its image with: pars restore '
        + 'SNAPSHOT --to FILE',
    },
  );
}

function checkedBody(bytes: Buffer): Buffer {
  const version = bytes.length < 16 ? 0 : bytes.readUInt32LE(8);
  if (version !== STUB_VERSION)
    throw damaged(`its version is ${version}, this program reads ${STUB_VERSION}`);
  const length = bytes.readUInt32LE(12);
  if (length < FIXED_BYTES + 4 + DIGEST_BYTES || length > Math.min(bytes.length, MAX_STUB_BYTES))
    throw damaged(`its length ${length} cannot be`);
  const body = bytes.subarray(0, length - DIGEST_BYTES);
  if (!sha256(body).equals(bytes.subarray(length - DIGEST_BYTES, length)))
    throw damaged('its digest does not match');
  return body;
}

function damaged(why: string): ParsError {
  return new ParsError('corrupt', `the stub record is damaged: ${why}`, {
    hint: 'find the snapshot with "pars list" and write its image with: pars restore SNAPSHOT --to FILE',
  });
}

function writeText(into: Buffer, at: number, text: Buffer): number {
  into.writeUInt16LE(text.length, at);
  text.copy(into, at + 2);
  return at + 2 + text.length;
}

function readText(from: Buffer, at: number): [text: string, end: number] {
  const end = at + 2 > from.length ? Infinity : at + 2 + from.readUInt16LE(at);
  if (end > from.length) throw damaged('a text reaches past its end');
  return [from.toString('utf8', at + 2, end), end];
}

function formatUuid(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function sha256(data: Buffer): Buffer {
  return createHash('sha256').update(data).digest();
}
