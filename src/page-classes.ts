// SPDX-License-Identifier: Apache-2.0
/** The classes of guest pages, in the order and with the numbers that snapshots store (docs/format.md). */
export const PAGE_CLASSES = [
  'kernel',
  'free',
  'clean-cache',
  'mapped-cache',
  'dirty-cache',
  'other-cache',
  'anon',
  'shmem',
  'slab',
  'page-table',
  'offline',
  'device',
] as const;

export type PageClass = (typeof PAGE_CLASSES)[number];

/** Classes the guest can lose without harm; all others are critical. */
export const EXPENDABLE: ReadonlySet<PageClass> = new Set<PageClass>(['free', 'clean-cache']);

/** Whether a frame of this kind holds pages of an expendable class: what is not a page class is critical. */
export function isExpendableKind(kind: number): boolean {
  const pageClass = PAGE_CLASSES[kind];
  return pageClass !== undefined && EXPENDABLE.has(pageClass);
}

/** A page frame of the guest (x86-64). */
export const PAGE_BYTES = 4096;

/** Kinds of frames: 0..11 are page classes. */
export const FRAME_FILL = 12;
export const FRAME_SKELETON = 13;
export const FRAME_RECOVERY = 14;
/** References to a disk of the guest's, which holds these pages. */
export const FRAME_DISK = 15;
/** Recovery of clean cache among them. */
export const FRAME_DISK_RECOVERY = 16;
export const LAST_FRAME = FRAME_DISK_RECOVERY;

/** Whether a frame of this kind stands for pages of the guest. */
export function isPayloadKind(kind: number): boolean {
  return kind <= FRAME_FILL || kind === FRAME_DISK;
}

/** A table of references: its header, and each run of pages (docs/format.md, "Frames"). */
const REFERENCES_HEADER_BYTES = 8;
const REFERENCE_BYTES = 32;
const MAX_REFERENCE_PAGES = 32;

/** Whether a table of so many bytes can refer to so many pages. */
export function isReferenceTable(rawBytes: number, pages: number): boolean {
  const runs = (rawBytes - REFERENCES_HEADER_BYTES) / REFERENCE_BYTES;
  return Number.isInteger(runs) && runs > 0 && runs <= pages && pages <= runs * MAX_REFERENCE_PAGES;
}
