// SPDX-License-Identifier: Apache-2.0
/** What the reader says of an image (docs/format.md, "The reader's protocol"), in types. */
import type { NamedDisk } from '../disks/named-disk.js';
import type { PageClass } from '../page-classes.js';

export interface DomainFacts {
  name: string;
  uuid: string;
  machine: string;
  memoryBytes: number;
  disks: NamedDisk[];
  /** The policy its owner chose in <metadata>. */
  policy: string | null;
  optOut: boolean;
  acceptChangedDisks: boolean;
  /** Disks that nobody can compare are taken for unchanged. */
  acceptUncomparedDisks: boolean;
  /** What its disks hold may stay there alone. */
  diskReferences: boolean;
}

export interface ImageFacts {
  bytes: number;
  /** Of a compressed image that was unpacked: length of the raw one it stands for. */
  rawBytes?: number;
  format: string;
  wasRunning: boolean;
  streamOffset: number;
  domain: DomainFacts;
  /**
   * Where the head ends and a stub record would stand (of a sparse image the stream's start); 0 when the
   * image can have no stub, or is compressed and not one.
   */
  headEnd: number;
  /** SHA-256 from the stream's start to headEnd, hex. */
  headDigest: string | null;
  /**
   * Up to 4096 bytes that stand at headEnd and begin with a stub record's magic; not yet checked
   * (src/image/stub.ts).
   */
  stubRecord: Buffer | null;
}

export interface ClassFacts {
  pages: number;
  payloadPages: number;
  fillPages: number;
  zeroPages: number;
  /** Payload pages in the image's head, which is stored as it is and has no classes; only in a report. */
  headPages?: number;
  /** Pages compressed to estimate the class; only in a report. */
  sample: { pages: number; compressedBytes: number } | null;
}

/** Why pages are of their class: the rule that decided, as native/core/pages/reason.cc names it. */
export interface ReasonFacts {
  class: PageClass;
  reason: string;
  /** Of docs/safety.md; empty when no rule but the kernel's own marks decided. */
  rule: string;
  text: string;
  pages: number;
}

/**
 * Where a sparse image has the pages of a RAM block, one behind the other, and the bitmap of those it holds.
 */
export interface MappedBlock {
  bitmapOffset: number;
  pagesOffset: number;
  bytes: number;
}

/** What the guest's disks hold of its page cache, byte for byte. */
export interface ReferenceFacts {
  /** Pages of the cache that have contents, and those of which the guest's memory tells a place. */
  cached: number;
  placed: number;
  /** Pages that were found on a disk, by class. */
  equal: Record<PageClass, number>;
  /** The disks were too slow: what had not been compared then is stored. */
  outOfTime: boolean;
}

export interface InspectionFacts {
  guest: { introspected: boolean; kernel: string | null; reason: string | null };
  ram: { pageSize: number; pages: number; zeroPages: number };
  classes: Record<PageClass, ClassFacts>;
  reasons: ReasonFacts[];
  /** Why pages are critical that a reader might expect to be expendable. */
  notes: { text: string; pages: number }[];
  /** `mappedBlocks`: of a sparse image only, whose records are the places of pages. */
  stream: {
    machine: string;
    payloadRecords: number;
    zeroRecords: number;
    repeatedRecords: number;
    mappedBlocks: MappedBlock[];
  };
  recovery: { folios: number; writes: number };
  /**
   * Estimate of what is stored beside the classes, once: head, records, devices, fills, recoveries, index;
   * absent where nobody estimated it.
   */
  restCompressedBytes?: number;
}
