// SPDX-License-Identifier: Apache-2.0
/**
 * Will it fit: what saves of running guests need on the local disk, and what each policy then keeps in the
 * store.
 */
import { ParsError } from '../errors.js';
import { presetPolicy, PRESETS, type Policy } from '../policy/policy.js';
import type { ReaderOptions } from '../reader/reader.js';
import { reportOn } from './report.js';
import { domainName, domainUuid, lookAtRunning } from './running-domain.js';
import { virsh } from '../libvirt/domains.js';
import { PAGE_BYTES } from '../page-classes.js';

/** A stub keeps the head of its image. */
const STUB_BYTES = (4 << 20) + 8192;
/** A guest that cannot be read may fill its RAM with pages that all differ. */
const WORST_RECORD = (8 + PAGE_BYTES) / PAGE_BYTES;

export interface PlannedGuest {
  name: string;
  uuid: string;
  ramBytes: number;
  /** libvirt writes the whole image before anything is taken away from it. */
  peakBytes: number;
  /** Once it is offloaded: the stub. */
  localBytes: number;
  /** By policy: bytes over all copies, before and after compression. */
  policies: Record<string, { storedBytes: number; estimatedCompressedBytes: number | null }>;
  /** Why the guest could not be read; the figures are then the most there can be. */
  problem: string | null;
}

export interface Place {
  where: string;
  freeBytes: number;
}

/** Null: a store that does not say. */
export interface StorePlace {
  where: string;
  freeBytes: number | null;
}

export interface Plan {
  policy: string;
  guests: PlannedGuest[];
  total: {
    peakBytes: number;
    largestPeakBytes: number;
    localBytes: number;
    policies: PlannedGuest['policies'];
  };
  saveDir: Place;
  /** Null when no store is configured. */
  store: StorePlace | null;
  fits: {
    /** All saves at once. */
    save: boolean;
    /** One after the other, each offloaded before the next: only the stubs add up. */
    saveOneByOne: boolean;
    /**
     * All of it under the policy, not counting on compression; null without a store, or one that does not say
     * what room it has.
     */
    store: boolean | null;
  };
}

/** Looks at each guest in turn; one that cannot be read is planned for at its worst. */
export async function planGuests(
  domains: readonly string[],
  policy: Policy,
  options: ReaderOptions & { onGuest?: (done: number) => void } = {},
): Promise<PlannedGuest[]> {
  const guests: PlannedGuest[] = [];
  for (const domain of domains) {
    guests.push(await planOne(domain, policy, options));
    options.onGuest?.(guests.length);
  }
  return guests;
}

async function planOne(domain: string, policy: Policy, options: ReaderOptions): Promise<PlannedGuest> {
  try {
    const { image, ram, policies } = reportOn(await lookAtRunning(domain, options), policy);
    const figures = Object.entries(policies).map(([name, { storedBytes, estimatedCompressedBytes }]) => [
      name,
      { storedBytes, estimatedCompressedBytes },
    ]);
    return {
      name: image.domain.name,
      uuid: image.domain.uuid,
      ramBytes: ram.pages * ram.pageSize,
      peakBytes: image.bytes,
      localBytes: Math.min(STUB_BYTES, image.bytes),
      policies: Object.fromEntries(figures) as PlannedGuest['policies'],
      problem: null,
    };
  } catch (error) {
    options.signal?.throwIfAborted();
    if (!(error instanceof ParsError) || error.kind === 'missing' || error.kind === 'unreachable')
      throw error;
    return worstCase(domain, policy, error.message);
  }
}

async function worstCase(domain: string, policy: Policy, problem: string): Promise<PlannedGuest> {
  const xml = await virsh('dumpxml', domain);
  const ramBytes = Number(/<memory unit='KiB'>(\d+)<\/memory>/.exec(xml)?.[1] ?? NaN) * 1024;
  if (Number.isNaN(ramBytes)) throw new ParsError('corrupt', `the XML of ${domain} names no memory`);
  const peakBytes = Math.ceil(ramBytes * WORST_RECORD);
  const policies = [...PRESETS.map((name) => presetPolicy(name)), policy].map(({ name, criticalCopies }) => [
    name,
    { storedBytes: criticalCopies * peakBytes, estimatedCompressedBytes: null },
  ]);
  return {
    name: await domainName(domain),
    uuid: await domainUuid(domain),
    ramBytes,
    peakBytes,
    localBytes: STUB_BYTES,
    policies: Object.fromEntries(policies) as PlannedGuest['policies'],
    problem,
  };
}

/** Sets the guests against the room there is. */
export function makePlan(
  guests: PlannedGuest[],
  policy: string,
  saveDir: Place,
  store: StorePlace | null,
): Plan {
  const sum = (of: (guest: PlannedGuest) => number): number =>
    guests.reduce((total, guest) => total + of(guest), 0);
  const peakBytes = sum((guest) => guest.peakBytes),
    localBytes = sum((guest) => guest.localBytes);
  const largestPeakBytes = Math.max(0, ...guests.map((guest) => guest.peakBytes));
  const names = Object.keys(guests[0]?.policies ?? {});
  const policies = Object.fromEntries(
    names.map((name) => [
      name,
      {
        storedBytes: sum(({ policies: own }) => own[name]?.storedBytes ?? 0),
        estimatedCompressedBytes: estimated(guests, name),
      },
    ]),
  );
  const stored = policies[policy]?.storedBytes ?? 0;
  return {
    policy,
    guests,
    total: { peakBytes, largestPeakBytes, localBytes, policies },
    saveDir,
    store,
    fits: {
      save: peakBytes <= saveDir.freeBytes,
      saveOneByOne: largestPeakBytes + localBytes <= saveDir.freeBytes,
      store: store === null || store.freeBytes === null ? null : stored <= store.freeBytes,
    },
  };
}

function estimated(guests: readonly PlannedGuest[], name: string): number | null {
  return guests.reduce<number | null>((total, { policies }) => {
    const bytes = policies[name]?.estimatedCompressedBytes ?? null;
    return total === null || bytes === null ? null : total + bytes;
  }, 0);
}
