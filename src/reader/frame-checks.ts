// SPDX-License-Identifier: Apache-2.0
/** Checks of the frames that the reader sends for a stripe, before anything is made of them (R1). */
import {
  FRAME_DISK,
  FRAME_DISK_RECOVERY,
  FRAME_FILL,
  FRAME_RECOVERY,
  FRAME_SKELETON,
  isPayloadKind,
  isReferenceTable,
  LAST_FRAME,
  PAGE_BYTES,
  PAGE_CLASSES,
  type PageClass,
} from '../page-classes.js';
import type { ReaderFrame } from './reader-stripe.js';
import { badAnswer } from './reader-answers.js';

/** Stripes are of whole MiB, but for what stands beside and between blocks. */
const LEAST_STRIPE = 1 << 20,
  MORE_STRIPES = 64;
/** Of a run in a skeleton's table, and of a recovery and one of its writes. */
const RUN_BYTES = 16,
  RECOVERY_HEADER_BYTES = 8,
  WRITE_BYTES = 10;
/** A folio that only reaches into the stripe may have many pages elsewhere. */
const MAX_WRITES_A_PAGE = 64,
  MAX_FOLIO_PAGES = 4096;

/** An image of so many bytes is not cut into more stripes. */
export function mostStripes(imageBytes: number): number {
  return MORE_STRIPES + 2 * Math.ceil(imageBytes / LEAST_STRIPE);
}

/** The most bytes of all messages with frames of a stripe. */
export function mostFrameBytes(imageBytes: number): number {
  const pages = Math.ceil(imageBytes / PAGE_BYTES) + 1;
  const table = 4 + RUN_BYTES * (pages + 1),
    recoveries = 2 * mostRecoveryBytes(pages);
  return (LAST_FRAME + 1) * 4096 + bound(imageBytes + 9 * pages + table) + bound(recoveries);
}

function mostRecoveryBytes(pages: number): number {
  return RECOVERY_HEADER_BYTES + WRITE_BYTES * MAX_WRITES_A_PAGE * (pages + MAX_FOLIO_PAGES);
}

/** The longest frame that zstd makes of so many bytes (ZSTD_compressBound). */
function bound(rawBytes: number): number {
  return rawBytes + (rawBytes >> 8) + Math.max(0, (128 << 10) - rawBytes) / 2048 + 64;
}

/**
 * A class comes with data exactly when it is to be stored: a frame left empty would pass for one that the
 * policy does not keep.
 */
export function checkStored(frames: readonly ReaderFrame[], stored: readonly PageClass[]): void {
  for (const frame of frames) {
    const name = PAGE_CLASSES[frame.kind];
    if (name !== undefined && stored.includes(name) !== frame.data.length > 0)
      throw badAnswer(`a ${name} frame that is ${frame.data.length > 0 ? 'not wanted' : 'empty'}`);
  }
}

/**
 * Each kind at most once, a skeleton always, references only if disks were `compared`, and all sizes
 * consistent with the stripe's.
 */
export function checkFrames(frames: readonly ReaderFrame[], imageBytes: number, compared: boolean): void {
  const kinds = new Set<number>();
  let payload = 0,
    skeleton = -1;
  for (const frame of frames) {
    if (frame.kind > (compared ? LAST_FRAME : FRAME_RECOVERY) || kinds.has(frame.kind))
      throw badAnswer(`frame kind ${frame.kind}`);
    kinds.add(frame.kind);
    checkSize(frame, Math.ceil(imageBytes / PAGE_BYTES) + 1);
    if (frame.kind === FRAME_SKELETON) skeleton = frame.rawBytes;
    if (isPayloadKind(frame.kind)) payload += frame.pages * PAGE_BYTES;
  }
  // The skeleton's table has a run for each page at most, and one behind the last.
  const pages = frames.reduce((sum, { kind, pages: own }) => sum + (isPayloadKind(kind) ? own : 0), 0);
  if (skeleton > imageBytes - payload + 4 + RUN_BYTES * (pages + 1))
    throw badAnswer('a skeleton longer than its stripe');
  if (kinds.has(PAGE_CLASSES.indexOf('clean-cache')) && !kinds.has(FRAME_RECOVERY))
    throw badAnswer('clean cache without its recovery');
  // The skeleton frame holds its run table beside the stripe's other bytes.
  if (skeleton < imageBytes - payload + 4 || payload > imageBytes)
    throw badAnswer('frames that do not add up to their stripe');
}

function checkSize({ kind, pages, rawBytes, data }: ReaderFrame, stripePages: number): void {
  if (kind < FRAME_FILL && rawBytes !== pages * PAGE_BYTES)
    throw badAnswer('a class frame whose pages do not add up');
  if (kind === FRAME_FILL && rawBytes !== pages * 8)
    throw badAnswer('a fill frame whose pages do not add up');
  if (kind === FRAME_DISK && !isReferenceTable(rawBytes, pages))
    throw badAnswer('references whose pages do not add up');
  const isRecovery = kind === FRAME_RECOVERY || kind === FRAME_DISK_RECOVERY;
  if (isRecovery && rawBytes > mostRecoveryBytes(stripePages))
    throw badAnswer('a recovery of more writes than pages have');
  if (data.length > bound(rawBytes)) throw badAnswer('a frame longer than what it holds');
  if (kind >= FRAME_FILL && data.length === 0) throw badAnswer('a frame of critical bytes without data');
}
