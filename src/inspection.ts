/** What the reader says of an image (docs/format.md, "The reader's protocol"), in types. */
import type { PageClass } from './page-classes.js';

export interface DomainFacts {
  name: string;
  uuid: string;
  machine: string;
  memoryBytes: number;
  disks: { target: string; source: string; blockDevice: boolean; readOnly: boolean }[];
  /** The policy its owner chose in <metadata>. */
  policy: string | null;
  optOut: boolean;
  acceptChangedDisks: boolean;
}

export interface ImageFacts {
  bytes: number;
  format: string;
  wasRunning: boolean;
  streamOffset: number;
  domain: DomainFacts;
  /** Where the head ends and a stub record would stand; 0 when the image can have no stub. */
  headEnd: number;
  /** SHA-256 from the stream's start to headEnd, hex. */
  headDigest: string | null;
  /** Up to 4096 bytes that stand at headEnd and begin with a stub record's magic; not yet checked (src/stub.ts). */
  stubRecord: Buffer | null;
}

export interface ClassFacts {
  pages: number;
  payloadPages: number;
  fillPages: number;
  zeroPages: number;
  /** Pages compressed to estimate the class; only in a report. */
  sample: { pages: number; compressedBytes: number } | null;
}

/** Why pages are of their class: the rule that decided, as native/core/reason.cc names it. */
export interface ReasonFacts {
  class: PageClass;
  reason: string;
  /** Of docs/safety.md; empty when no rule but the kernel's own marks decided. */
  rule: string;
  text: string;
  pages: number;
}

export interface InspectionFacts {
  guest: { introspected: boolean; kernel: string | null; reason: string | null };
  ram: { pageSize: number; pages: number; zeroPages: number };
  classes: Record<PageClass, ClassFacts>;
  reasons: ReasonFacts[];
  /** Why pages are critical that a reader might expect to be expendable. */
  notes: { text: string; pages: number }[];
  stream: { machine: string; payloadRecords: number; zeroRecords: number; repeatedRecords: number };
  recovery: { folios: number; writes: number };
}
