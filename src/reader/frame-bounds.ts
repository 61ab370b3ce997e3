// SPDX-License-Identifier: Apache-2.0
/** How large what the reader tells of a stripe can be, and what is packed of it (R1). */
import { LAST_FRAME, PAGE_BYTES } from '../page-classes.js';

/** Stripes are of whole MiB, but for what stands beside and between blocks. */
const LEAST_STRIPE = 1 << 20,
  MORE_STRIPES = 64;
/** Of a run in a skeleton's table, and of a recovery and one of its writes. */
const RUN_BYTES = 16,
  RECOVERY_HEADER_BYTES = 8,
  WRITE_BYTES = 10;
/** Of a table of references, and of one. */
const REFERENCES_HEADER_BYTES = 8,
  REFERENCE_BYTES = 32;
/** More than zstd adds to a frame that it cannot make smaller, whatever its length. */
const SMALL_FRAME_BYTES = 4096;
/** A folio that only reaches into the stripe may have many pages elsewhere. */
const MAX_WRITES_A_PAGE = 64,
  MAX_FOLIO_PAGES = 4096;

/** An image of so many bytes is not cut into more stripes. */
export function mostStripes(imageBytes: number): number {
  return MORE_STRIPES + 2 * Math.ceil(imageBytes / LEAST_STRIPE);
}

/** The most bytes of all tables of a stripe. */
export function mostTableBytes(imageBytes: number): number {
  const pages = Math.ceil(imageBytes / PAGE_BYTES) + 1;
  return (
    4
    + RUN_BYTES * (pages + 1)
    + REFERENCES_HEADER_BYTES
    + REFERENCE_BYTES * pages
    + 2 * mostRecoveryBytes(pages)
  );
}

/** The most bytes of all frames of a stripe with tables of so many bytes. */
export function mostFrameBytes(imageBytes: number, tableBytes: number): number {
  return (LAST_FRAME + 1) * SMALL_FRAME_BYTES + bound(imageBytes + tableBytes);
}

function mostRecoveryBytes(pages: number): number {
  return RECOVERY_HEADER_BYTES + WRITE_BYTES * MAX_WRITES_A_PAGE * (pages + MAX_FOLIO_PAGES);
}

/** The longest frame that zstd makes of so many bytes (ZSTD_compressBound). */
function bound(rawBytes: number): number {
  return rawBytes + (rawBytes >> 8) + Math.max(0, (128 << 10) - rawBytes) / 2048 + 64;
}
