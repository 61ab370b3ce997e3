// SPDX-License-Identifier: Apache-2.0
/** Checks of the frames that the reader sends for a stripe, before anything is made of them (R1). */
import {
  FRAME_DISK,
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
    checkSize(frame);
    if (frame.kind === FRAME_SKELETON) skeleton = frame.rawBytes;
    if (isPayloadKind(frame.kind)) payload += frame.pages * PAGE_BYTES;
  }
  if (kinds.has(PAGE_CLASSES.indexOf('clean-cache')) && !kinds.has(FRAME_RECOVERY))
    throw badAnswer('clean cache without its recovery');
  // The skeleton frame holds its run table beside the stripe's other bytes.
  if (skeleton < imageBytes - payload + 4 || payload > imageBytes)
    throw badAnswer('frames that do not add up to their stripe');
}

function checkSize({ kind, pages, rawBytes, data }: ReaderFrame): void {
  if (kind < FRAME_FILL && rawBytes !== pages * PAGE_BYTES)
    throw badAnswer('a class frame whose pages do not add up');
  if (kind === FRAME_FILL && rawBytes !== pages * 8)
    throw badAnswer('a fill frame whose pages do not add up');
  if (kind === FRAME_DISK && !isReferenceTable(rawBytes, pages))
    throw badAnswer('references whose pages do not add up');
  if (kind >= FRAME_FILL && data.length === 0) throw badAnswer('a frame of critical bytes without data');
}
