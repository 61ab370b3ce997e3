// SPDX-License-Identifier: Apache-2.0
/**
 * The report on an image: what the guest's memory consists of, and what each policy would store of it. A dry
 * run.
 */
import type { FileShare, MemoryMap } from '../reader/page-map.js';
import type { ClassFacts, ImageFacts, InspectionFacts } from '../reader/inspection.js';
import { EXPENDABLE, PAGE_BYTES, PAGE_CLASSES, type PageClass } from '../page-classes.js';
import { presetPolicy, PRESETS, type Policy, withCacheKept } from '../policy/policy.js';
import {
  DEFAULT_INPUTS,
  type Durability,
  durabilityOf,
  type DurabilityInputs,
  type Scheme,
  schemeUnder,
  schemeWhole,
} from './durability.js';
import { rereadCost, type RereadCost } from './reread-cost.js';
import {
  type Amount,
  type Amounts,
  besidesDisks,
  compareCost,
  costOf,
  type PolicyCost,
} from './policy-cost.js';

/** A page of one repeated word is stored as that word. */
const FILL_BYTES = 8;

/** Where the pages were read: an image on disk, a snapshot in the store, or a domain while it runs. */
export type ReportSource = 'image' | 'snapshot' | 'domain';

/** The image on disk and what the reader says of it. */
export interface ReportFacts {
  path: string;
  /** An image unless it says otherwise. */
  source?: ReportSource;
  image: ImageFacts;
  inspection: InspectionFacts;
  /** Disks that a start will not be able to compare, and why. */
  uncomparedDisks?: readonly string[];
  /** Pages that the guest's own disks hold as well, by class; absent when nobody compared. */
  onDisks?: Record<PageClass, number>;
  /** Only when they were asked for. */
  map?: MemoryMap;
  files?: FileShare[];
}

export interface ClassReport extends Omit<ClassFacts, 'sample'>, Amount {
  expendable: boolean;
}

export interface PolicyReport extends PolicyCost {
  /** The same as rawBytes: bytes over all copies before compression. */
  storedBytes: number;
  durability: LaidOut;
}

/** What dead disks cost, and how the image lies on them. */
export interface LaidOut extends Durability {
  scheme: Scheme;
}

export interface NativeCosts {
  /** Three copies of the image file: exact. */
  threeCopies: number;
  /** Three copies of the image compressed whole: from samples; null when nobody looked. */
  estimatedThreeCopiesOfZstd: number | null;
  /** One compressed image in Reed-Solomon stripes of 6 data and 3 parity cells; null when nobody looked. */
  estimatedRs63OfZstd: number | null;
  /** The image file in Reed-Solomon stripes of 6 data and 3 parity cells: exact. */
  rs63: number;
  /** Of three copies, compressed or not, and of RS-6-3. */
  durability: { threeCopies: LaidOut; rs63: LaidOut };
}

export interface ImageReport {
  source: ReportSource;
  /** The guest was running, so all figures are estimates, good for looking and for nothing else. */
  estimated: boolean;
  /** `rawBytes`: what a compressed image unpacks to. */
  image: {
    path: string;
    bytes: number;
    rawBytes?: number;
    format: string;
    domain: { name: string; uuid: string };
  };
  guest: InspectionFacts['guest'];
  ram: InspectionFacts['ram'];
  classes: Record<PageClass, ClassReport>;
  /** Everything in the image that is not payload of a class. */
  skeleton: Amount;
  policies: Record<string, PolicyReport>;
  /** What the same image costs in a store that does not know pages, bytes over all disks. */
  natives: NativeCosts;
  /** What the guest pays at the most when all its clean page cache is lost. */
  reread: RereadCost;
  /** What the figures on dead disks start from. */
  durabilityInputs: DurabilityInputs;
  /** The policy that would be used now. */
  policy: string;
  /** Pages of every class by the rule that decided. */
  reasons: InspectionFacts['reasons'];
  /** Why pages are critical that a reader might expect to be expendable. */
  notes: InspectionFacts['notes'];
  /** Disks that a start will not be able to compare, and why: every policy keeps the clean cache then. */
  uncomparedDisks: string[];
  /**
   * Pages that the guest's own disks hold as well: policies that leave them there store the rest, and the
   * guest reads none of them again.
   */
  onDisks?: Record<PageClass, number>;
  /**
   * The map of guest-physical memory, and the files that hold most of the clean cache: only when asked for.
   */
  map?: MemoryMap;
  files?: FileShare[];
}

/** The presets in their order, then a policy of one's own. */
export function policyOrder({ policies }: Pick<ImageReport, 'policies'>): string[] {
  return [
    ...PRESETS,
    ...Object.keys(policies).filter((name) => !(PRESETS as readonly string[]).includes(name)),
  ];
}

/** Works the report out. `configured` joins the presets when it is none of them. */
export function reportOn(
  { path, image, inspection, source = 'image', uncomparedDisks = [], onDisks, map, files }: ReportFacts,
  configured: Policy,
  inputs: DurabilityInputs = DEFAULT_INPUTS,
): ImageReport {
  const amounts = amountsOf(image, inspection);
  const { name, uuid } = image.domain;
  return {
    source,
    estimated: source === 'domain',
    image: {
      path,
      bytes: image.bytes,
      ...(image.rawBytes !== undefined && { rawBytes: image.rawBytes }),
      format: image.format,
      domain: { name, uuid },
    },
    guest: inspection.guest,
    ram: inspection.ram,
    classes: byClass((pageClass) =>
      classReport(inspection.classes[pageClass], amounts.classes[pageClass], EXPENDABLE.has(pageClass)),
    ),
    skeleton: amounts.skeleton,
    policies: policyReports(configured, amounts, { inputs, keepCache: uncomparedDisks.length > 0, onDisks }),
    natives: nativeCosts(image.bytes, amounts, inputs),
    reread: rereadCost(inspection.classes['clean-cache'].payloadPages),
    durabilityInputs: inputs,
    policy: configured.name,
    reasons: inspection.reasons,
    notes: inspection.notes,
    uncomparedDisks: [...uncomparedDisks],
    ...(onDisks && { onDisks }),
    ...(map && { map }),
    ...(files && { files }),
  };
}

function policyReports(
  configured: Policy,
  amounts: Amounts,
  {
    inputs,
    keepCache,
    onDisks,
  }: { inputs: DurabilityInputs; keepCache: boolean; onDisks: Record<PageClass, number> | undefined },
): Record<string, PolicyReport> {
  const baseline = presetPolicy('replicate-all');
  const policies = new Map(PRESETS.map((name) => [name as string, presetPolicy(name)]));
  policies.set(configured.name, configured);
  return Object.fromEntries(
    [...policies].map(([name, asked]) => {
      const policy = keepCache ? withCacheKept(asked) : asked;
      const stored = policy.disk && onDisks ? besidesDisks(amounts, onDisks) : amounts;
      return [
        name,
        policyReport(
          compareCost(policy, baseline, amounts, stored),
          laidOut(inputs, schemeUnder(policy, stored)),
        ),
      ];
    }),
  );
}

function nativeCosts(imageBytes: number, amounts: Amounts, inputs: DurabilityInputs): NativeCosts {
  const zstd = costOf(presetPolicy('replicate-all'), amounts).estimatedCompressedBytes;
  const whole = (cells: number, fatal: number, dataCells: number): LaidOut =>
    laidOut(inputs, schemeWhole(imageBytes, { cells, fatal, dataCells }));
  return {
    threeCopies: 3 * imageBytes,
    estimatedThreeCopiesOfZstd: zstd,
    estimatedRs63OfZstd: zstd === null ? null : Math.ceil(zstd / 2),
    rs63: Math.ceil((imageBytes * 9) / 6),
    durability: { threeCopies: whole(3, 3, 1), rs63: whole(9, 4, 6) },
  };
}

function laidOut(inputs: DurabilityInputs, scheme: Scheme): LaidOut {
  return { ...durabilityOf(inputs, scheme), scheme };
}

/** What the file would have if no page of a sparse image had a place without being there. */
function bytesWithoutHoles(
  { bytes, rawBytes, format }: ImageFacts,
  { zeroRecords }: InspectionFacts['stream'],
): number {
  return format === 'sparse' ? bytes - zeroRecords * PAGE_BYTES : (rawBytes ?? bytes);
}

/** The head is stored as it is: what it has of a class counts with what belongs to none. */
function amountsOf(image: ImageFacts, { classes, stream, restCompressedBytes }: InspectionFacts): Amounts {
  const total = (count: (facts: ClassFacts) => number): number =>
    PAGE_CLASSES.reduce((sum, name) => sum + count(classes[name]), 0);
  const fills = total(({ fillPages }) => fillPages);
  const pagesInImage = total(({ payloadPages }) => payloadPages) + fills;
  const head = total(({ headPages = 0 }) => headPages) * PAGE_BYTES;
  const skeleton =
    Math.max(0, bytesWithoutHoles(image, stream) - pagesInImage * PAGE_BYTES) + fills * FILL_BYTES + head;
  // Where nobody estimated it, it is counted as if it did not compress: the safe side, by little.
  return {
    classes: byClass((name) => classAmount(classes[name])),
    skeleton: { rawBytes: skeleton, estimatedCompressedBytes: restCompressedBytes ?? skeleton },
  };
}

function classAmount({ payloadPages, headPages = 0, sample }: ClassFacts): Amount {
  const pages = payloadPages - headPages;
  const rawBytes = pages * PAGE_BYTES;
  if (rawBytes === 0) return { rawBytes, estimatedCompressedBytes: 0 };
  return {
    rawBytes,
    estimatedCompressedBytes:
      sample && sample.pages > 0 ? Math.round((pages * sample.compressedBytes) / sample.pages) : null,
  };
}

function classReport(facts: ClassFacts, amount: Amount, expendable: boolean): ClassReport {
  const { pages, payloadPages, fillPages, zeroPages } = facts;
  return { pages, payloadPages, fillPages, zeroPages, expendable, ...amount };
}

function policyReport(cost: PolicyCost, durability: LaidOut): PolicyReport {
  return { storedBytes: cost.rawBytes, ...cost, durability };
}

function byClass<T>(value: (name: PageClass) => T): Record<PageClass, T> {
  return Object.fromEntries(PAGE_CLASSES.map((name) => [name, value(name)])) as Record<PageClass, T>;
}
