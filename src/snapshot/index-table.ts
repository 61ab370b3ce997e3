// SPDX-License-Identifier: Apache-2.0
/** The index of a snapshot: which frames rebuild which stretch of the image (docs/format.md, "Index"). */
import { ParsError } from '../errors.js';
import {
  FRAME_DISK,
  FRAME_FILL,
  FRAME_RECOVERY,
  FRAME_SKELETON,
  LAST_FRAME,
  PAGE_BYTES,
  PAGE_CLASSES,
  isPayloadKind,
  isReferenceTable,
} from '../page-classes.js';

export interface IndexFrame {
  /** 0..11 a page class, 12 fill, 13 skeleton, 14 recovery, 15 and 16 of what disks hold. */
  kind: number;
  /** Number of the pack that holds it. */
  pack: number;
  rawBytes: number;
  /** In the pack. */
  offset: number;
  /** Compressed; 0 when the policy keeps no copy of the class. */
  bytes: number;
  pages: number;
  /** SHA-256 of the compressed bytes, hex; zeros when not stored. */
  sha256: string;
}

export interface IndexStripe {
  imageOffset: number;
  imageBytes: number;
  /** None: a hole of a sparse image, zeros. */
  frames: IndexFrame[];
}

export const INDEX_MAGIC = 'PARSIDX1';
/**
 * A stripe holds 2048 pages and what lies between, and is cut where it gets longer than 16 MiB; no frame of
 * it is longer either (kMaxFrameBytes in native/core/frames/frame.hh).
 */
export const MAX_STRIPE_BYTES = 64 << 20;
/** Of the whole index: 4 TiB of memory in stripes of 2048 pages, with eight frames each. */
export const MAX_INDEX_BYTES = 256 << 20;
/** Stripes of records of zero pages, the shortest, are longer than this; a few at the edges are not. */
const LEAST_STRIPE_BYTES = 16 << 10;
const SHORT_STRIPES = 4096;

const HEADER_BYTES = 16;
const STRIPE_BYTES = 24;
const FRAME_BYTES = 56;
const RECORD_WORD_BYTES = 8;
const NO_DIGEST = '0'.repeat(64);

/** The object of a snapshot that holds a frame: "anon.0", "skeleton.3". */
export function packName(kind: number, pack: number): string {
  return `${PAGE_CLASSES[kind] ?? 'skeleton'}.${pack}`;
}

/** The digest that frames which are not stored carry. */
export function noDigest(): string {
  return NO_DIGEST;
}

/** True when the policy keeps the frame's bytes. */
export function isStored(frame: IndexFrame): boolean {
  return frame.bytes > 0;
}

export function encodeIndex(stripes: readonly IndexStripe[]): Buffer {
  const frames = stripes.reduce((sum, stripe) => sum + stripe.frames.length, 0);
  const bytes = HEADER_BYTES + stripes.length * STRIPE_BYTES + frames * FRAME_BYTES;
  // What nobody would read again is not written.
  if (bytes > mostIndexBytes(stripes.reduce((sum, { imageBytes }) => sum + imageBytes, 0)))
    throw new ParsError('refused', `the image needs an index of ${bytes} bytes, more than is read again`);
  const out = Buffer.alloc(bytes);
  out.write(INDEX_MAGIC, 0, 'latin1');
  out.writeUInt32LE(stripes.length, 8);
  out.writeUInt32LE(frames, 12);
  let first = 0;
  const framesAt = HEADER_BYTES + stripes.length * STRIPE_BYTES;
  stripes.forEach((stripe, i) => {
    writeStripe(out, HEADER_BYTES + i * STRIPE_BYTES, stripe, first);
    stripe.frames.forEach((frame, j) => writeFrame(out, framesAt + (first + j) * FRAME_BYTES, frame));
    first += stripe.frames.length;
  });
  return out;
}

/** What an index must fit: the image it rebuilds and the packs it points into. */
export interface IndexBounds {
  imageBytes: number;
  /** Length of the pack of that name; undefined when the snapshot has none. */
  packBytes(name: string): number | undefined;
  /** Pages may be on the guest's disks. */
  references?: boolean;
  /** Of a sparse image: pages have no records, and a stripe without frames is a hole. */
  mapped: boolean;
}

/** Decodes and checks everything; throws 'corrupt' at the first thing that is invalid. */
export function decodeIndex(data: Buffer, bounds: IndexBounds): IndexStripe[] {
  if (data.length < HEADER_BYTES || data.toString('latin1', 0, 8) !== INDEX_MAGIC)
    throw damaged('it does not begin with its magic');
  const stripeCount = data.readUInt32LE(8);
  const frameCount = data.readUInt32LE(12);
  const framesAt = HEADER_BYTES + stripeCount * STRIPE_BYTES;
  if (data.length !== framesAt + frameCount * FRAME_BYTES)
    throw damaged(`${data.length} bytes cannot hold ${stripeCount} stripes and ${frameCount} frames`);
  const stripes: IndexStripe[] = [];
  const state = { imageOffset: 0, frame: 0 };
  for (let i = 0; i < stripeCount; i++)
    stripes.push(readStripe(data, i, framesAt, frameCount, state, bounds));
  if (state.imageOffset !== bounds.imageBytes)
    throw damaged(`its stripes cover ${state.imageOffset} of ${bounds.imageBytes} bytes`);
  if (state.frame !== frameCount) throw damaged('it has frames that belong to no stripe');
  return stripes;
}

function readStripe(
  data: Buffer,
  number: number,
  framesAt: number,
  frameCount: number,
  state: { imageOffset: number; frame: number },
  bounds: IndexBounds,
): IndexStripe {
  const at = HEADER_BYTES + number * STRIPE_BYTES;
  const imageOffset = Number(data.readBigUInt64LE(at));
  const imageBytes = Number(data.readBigUInt64LE(at + 8));
  const count = data.readUInt32LE(at + 20);
  if (imageOffset !== state.imageOffset)
    throw damaged(`stripe ${number} begins at ${imageOffset}, not where the one before ends`);
  const isHole = bounds.mapped && count === 0;
  if (imageBytes === 0 || (imageBytes > MAX_STRIPE_BYTES && !isHole))
    throw damaged(`stripe ${number} is ${imageBytes} bytes long`);
  if (data.readUInt32LE(at + 16) !== state.frame || state.frame + count > frameCount)
    throw damaged(`the frames of stripe ${number} are not the next ones`);
  const frames = Array.from({ length: count }, (_, i) =>
    readFrame(data, framesAt + (state.frame + i) * FRAME_BYTES, number, bounds),
  );
  if (!isHole) checkKinds(frames, number);
  checkPayload(frames, imageBytes, number, bounds.mapped ? 0 : RECORD_WORD_BYTES);
  state.imageOffset += imageBytes;
  state.frame += count;
  return { imageOffset, imageBytes, frames };
}

function readFrame(data: Buffer, at: number, stripe: number, bounds: IndexBounds): IndexFrame {
  const frame: IndexFrame = {
    kind: data.readUInt8(at),
    pack: data.readUInt16LE(at + 2),
    rawBytes: data.readUInt32LE(at + 4),
    offset: Number(data.readBigUInt64LE(at + 8)),
    bytes: data.readUInt32LE(at + 16),
    pages: data.readUInt32LE(at + 20),
    sha256: data.toString('hex', at + 24, at + 56),
  };
  if (data.readUInt8(at + 1) !== 0 || frame.kind > (bounds.references ? LAST_FRAME : FRAME_RECOVERY))
    throw damaged(`stripe ${stripe} has a frame of unknown kind ${frame.kind}`);
  checkSize(frame, stripe);
  checkPlace(frame, stripe, bounds);
  return frame;
}

/** A frame's length follows from its pages, where it holds pages. */
function checkSize(frame: IndexFrame, stripe: number): void {
  if (!isSizeOf(frame))
    throw damaged(
      `frame ${frame.kind} of stripe ${stripe} has ${frame.pages} pages in ${frame.rawBytes} bytes`,
    );
}

function isSizeOf({ kind, pages, rawBytes }: IndexFrame): boolean {
  if (kind === FRAME_DISK) return isReferenceTable(rawBytes, pages);
  if (rawBytes > MAX_STRIPE_BYTES) return false;
  if (kind > FRAME_FILL) return true;
  return pages > 0 && rawBytes === pages * (kind < FRAME_FILL ? PAGE_BYTES : 8);
}

function checkPlace(frame: IndexFrame, stripe: number, bounds: IndexBounds): void {
  if (!isStored(frame)) {
    if (frame.kind >= FRAME_FILL || frame.sha256 !== NO_DIGEST)
      throw damaged(`frame ${frame.kind} of stripe ${stripe} is empty`);
    return;
  }
  if (frame.bytes > mostCompressed(frame.rawBytes))
    throw damaged(
      `frame ${frame.kind} of stripe ${stripe} has ${frame.bytes} bytes for ${frame.rawBytes} of contents`,
    );
  const name = packName(frame.kind, frame.pack);
  const packBytes = bounds.packBytes(name);
  if (packBytes === undefined)
    throw damaged(`stripe ${stripe} names ${name}, which the manifest does not list`);
  if (frame.offset + frame.bytes > packBytes)
    throw damaged(`frame ${frame.kind} of stripe ${stripe} reaches past the end of ${name}`);
}

/** What zstd makes of that much at most, with its headers (ZSTD_COMPRESSBOUND). */
const mostCompressed = (rawBytes: number): number => rawBytes + (rawBytes >> 8) + 1024;

/** How long the index of an image of that length can be: known before it is read. */
export function mostIndexBytes(imageBytes: number): number {
  const stripes = SHORT_STRIPES + Math.ceil(imageBytes / LEAST_STRIPE_BYTES);
  return Math.min(MAX_INDEX_BYTES, HEADER_BYTES + stripes * (STRIPE_BYTES + (LAST_FRAME + 1) * FRAME_BYTES));
}

function checkKinds(frames: readonly IndexFrame[], stripe: number): void {
  if (new Set(frames.map((frame) => frame.kind)).size !== frames.length)
    throw damaged(`stripe ${stripe} has two frames of one kind`);
  if (!frames.some((frame) => frame.kind === FRAME_SKELETON))
    throw damaged(`stripe ${stripe} has no skeleton`);
}

function checkPayload(
  frames: readonly IndexFrame[],
  imageBytes: number,
  stripe: number,
  recordBytes: number,
): void {
  const pages = frames.reduce((sum, frame) => sum + (isPayloadKind(frame.kind) ? frame.pages : 0), 0);
  if (pages * (PAGE_BYTES + recordBytes) > imageBytes)
    throw damaged(`stripe ${stripe} has ${pages} pages in ${imageBytes} bytes`);
}

function writeStripe(out: Buffer, at: number, stripe: IndexStripe, firstFrame: number): void {
  out.writeBigUInt64LE(BigInt(stripe.imageOffset), at);
  out.writeBigUInt64LE(BigInt(stripe.imageBytes), at + 8);
  out.writeUInt32LE(firstFrame, at + 16);
  out.writeUInt32LE(stripe.frames.length, at + 20);
}

function writeFrame(out: Buffer, at: number, frame: IndexFrame): void {
  out.writeUInt8(frame.kind, at);
  out.writeUInt16LE(frame.pack, at + 2);
  out.writeUInt32LE(frame.rawBytes, at + 4);
  out.writeBigUInt64LE(BigInt(frame.offset), at + 8);
  out.writeUInt32LE(frame.bytes, at + 16);
  out.writeUInt32LE(frame.pages, at + 20);
  out.write(frame.sha256, at + 24, 32, 'hex');
}

function damaged(why: string): ParsError {
  return new ParsError('corrupt', `the index of the snapshot is damaged: ${why}`);
}
