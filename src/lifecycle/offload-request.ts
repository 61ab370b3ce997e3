// SPDX-License-Identifier: Apache-2.0
/** What an offload is asked for, where it works, and what it answers. */
import type { StubStep } from '../image/make-stub.js';
import type { ProbeMemory } from '../image/probe-memory.js';
import type { StubRegistry } from '../image/stub-registry.js';
import type { PageClass } from '../page-classes.js';
import type { Policy } from '../policy/policy.js';
import type { OnProgress } from '../progress.js';
import type { UploadStep } from '../snapshot/upload.js';
import type { Store } from '../stores/store.js';
import type { Host } from '../system/host.js';

/** The moments of an offload that tests stop it at, in order. */
export const OFFLOAD_STEPS = [
  'locked',
  'inspected',
  'packing',
  'packed',
  'indexed',
  'committed',
  'leased',
  'recorded',
  'punched',
  'stubbed',
  'done',
] as const satisfies readonly (UploadStep | StubStep | 'locked' | 'inspected' | 'done')[];
/** Those of one that makes an image the stub again which it was refilled from. */
export const STUB_AGAIN_STEPS = [
  'locked',
  'found',
  'leased',
  'recorded',
  'punched',
  'stubbed',
  'done',
] as const;
export type OffloadStep = (typeof OFFLOAD_STEPS)[number] | (typeof STUB_AGAIN_STEPS)[number];

export interface OffloadOptions {
  policy: Policy;
  /** The policy was asked for by name: the guest's own choice does not count. */
  policyIsFixed: boolean;
  /** Store only; the image stays as it is. */
  keepLocal: boolean;
  /** Offload a guest whose metadata says no. */
  force: boolean;
  /** libvirt's own managed save: a successful start of the guest consumes it. */
  managedSave: boolean;
  /** What the guest's disks hold may stay there alone, where the policy says so. */
  diskReferences?: boolean;
  leaseWaitMs: number;
  level: number;
  /** Waits until so many more bytes, over all copies, may be stored. */
  pace?: (bytes: number) => Promise<void>;
  signal?: AbortSignal;
  onProgress?: OnProgress;
  onStep?: (step: OffloadStep) => void;
}

export interface Offloaded {
  snapshot: string;
  image: string;
  /** Over all copies; 0 when there was nothing to do. */
  storedBytes: number;
  freedBytes: number;
  /** It was a stub before. */
  alreadyStub: boolean;
  /** It had been refilled from this snapshot and not written since: nothing was stored again. */
  storedBefore: boolean;
  /** It is a stub now. */
  stub: boolean;
  domain: string;
  domainUuid: string;
  imageBytes: number;
  policy: string;
  criticalCopies: number;
  /** Bytes stored of each class, over all copies. */
  classBytes: Record<PageClass, number>;
  /** Pages that the guest's own disks hold, in place of the store. */
  diskPages: number;
  introspected: boolean;
  reason: string | null;
  /** Disks that a start will not be able to compare, and why. */
  uncomparedDisks: string[];
}

/** Where an offload works: the store, this host, and what it remembers. */
export interface OffloadPlace {
  store: Store;
  host: Host;
  registry: StubRegistry;
  /** What is known of images already; told when one has become a stub. */
  probes?: ProbeMemory;
  /** Where libvirt keeps the XML of its own snapshots. */
  libvirtSnapshots?: string;
}
