/** What a snapshot says of itself: everything restore needs to begin, and what people ask of it. Written last. */
import type { PageClass } from './page-classes.js';

export const MANIFEST_FORMAT = 1;

export interface ManifestObject {
  name: string;
  bytes: number;
  xxh3: string;
  copies: number;
}

export interface Manifest {
  format: typeof MANIFEST_FORMAT;
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
    format: string;
    wasRunning: boolean;
    streamOffset: number;
    /** Where the head ends and the stub record stands; 0 when the image can have no stub. */
    headEnd: number;
    /** SHA-256 of the image's bytes from the stream's start to headEnd, hex. */
    headDigest: string;
    /** managed-save snapshots are consumed by a successful start. */
    managedSave: boolean;
  };
  guest: { introspected: boolean; kernel: string | null; reason: string | null };
  disks: { target: string; source: string; bytes: number | null; mtimeNs: string | null; identity: string | null; readOnly: boolean }[];
  policy: { name: string; copies: Record<PageClass, number>; criticalCopies: number };
  classes: Record<PageClass, { pages: number; payloadPages: number; storedBytes: number }>;
  index: { name: string; bytes: number; sha256: string };
  objects: ManifestObject[];
  /** Bytes over all copies. */
  storedBytes: number;
  /** How often a repair has rewritten it. */
  revision: number;
  /** Expendable pages that were stored, lost, and given up by a repair. */
  droppedPages: number;
}
