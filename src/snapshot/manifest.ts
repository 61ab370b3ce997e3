// SPDX-License-Identifier: Apache-2.0
/**
 * What a snapshot says of itself: everything restore needs to begin, and what people ask of it. Written last.
 */
import type { RecordedDisk } from '../disks/record.js';
import type { PageClass } from '../page-classes.js';
import type { MappedBlock } from '../reader/inspection.js';

/**
 * 4 for those whose guest's disks hold some of it, 3 for sparse images that were looked into, 2 for
 * compressed ones that were unpacked, else 1.
 */
export const MANIFEST_FORMAT = 4;

export interface ManifestObject {
  name: string;
  bytes: number;
  xxh3: string;
  copies: number;
  /** Coded in place of copies: RS-3-2-1024k. `copies` is 1 then. */
  coding?: string | undefined;
}

export interface Manifest {
  format: 1 | 2 | 3 | 4;
  /** UUID/TIME-RANDOM */
  snapshot: string;
  storeId: string;
  /** Orders snapshots of a guest; never a clock. */
  sequence: number;
  created: string;
  /** Random, hex, 32 digits; the stub carries it too. */
  token: string;
  /** machine-id and host name of the host that offloaded it. */
  owner: { machineId: string; host: string };
  domain: { uuid: string; name: string };
  image: {
    path: string;
    bytes: number;
    /** Of a compressed image: length of the raw one that was stored in its place. */
    rawBytes?: number | undefined;
    /** Of a sparse image that was looked into: where its pages lie. */
    mappedBlocks?: MappedBlock[] | undefined;
    format: string;
    wasRunning: boolean;
    streamOffset: number;
    /** Where the head ends and the stub record stands; 0 when the image can have no stub. */
    headEnd: number;
    /** SHA-256 of the image's bytes from the stream's start to headEnd, hex. */
    headDigest: string;
    /** managed-save snapshots are consumed by a successful start. */
    managedSave: boolean;
    /** The name of libvirt's own snapshot whose memory it is; libvirt removes the file with that snapshot. */
    memoryOf?: string | undefined;
  };
  guest: { introspected: boolean; kernel: string | null; reason: string | null };
  disks: RecordedDisk[];
  policy: {
    name: string;
    copies: Record<PageClass, number>;
    criticalCopies: number;
    coding?: string | undefined;
  };
  classes: Record<PageClass, { pages: number; payloadPages: number; storedBytes: number }>;
  /** Pages that are on the guest's disks and not in the store: all of them, and by class. */
  references?: { pages: number; classes: Record<PageClass, number> } | undefined;
  index: { name: string; bytes: number; sha256: string };
  objects: ManifestObject[];
  /** Bytes over all copies. */
  storedBytes: number;
  /** How often a repair has rewritten it. */
  revision: number;
  /** Expendable pages that were stored, lost, and given up by a repair. */
  droppedPages: number;
}

/** Length of the image that the index describes, the one a restore writes. */
export function storedImageBytes({ image }: Manifest): number {
  return image.rawBytes ?? image.bytes;
}
