/** The report on an image: what the guest's memory consists of, and what each policy would store of it. A dry run. */
import type { ClassFacts, ImageFacts, InspectionFacts } from './inspection.js';
import { EXPENDABLE, PAGE_CLASSES, type PageClass } from './page-classes.js';
import { presetPolicy, PRESETS, type Policy } from './policy.js';
import { rereadCost, type RereadCost } from './reread-cost.js';
import { type Amount, type Amounts, compareCost, costOf, type PolicyCost } from './policy-cost.js';

const PAGE_BYTES = 4096;
/** A page of one repeated word is stored as that word. */
const FILL_BYTES = 8;

/** The image on disk and what the reader says of it. */
export interface ReportFacts {
  path: string;
  image: ImageFacts;
  inspection: InspectionFacts;
}

export interface ClassReport extends Omit<ClassFacts, 'sample'>, Amount {
  expendable: boolean;
}

export interface PolicyReport extends PolicyCost {
  /** The same as rawBytes: bytes over all copies before compression. */
  storedBytes: number;
}

export interface NativeCosts {
  /** Three copies of the raw image: exact. */
  threeCopies: number;
  /** Three copies of the image compressed whole: from samples; null when nobody looked. */
  estimatedThreeCopiesOfZstd: number | null;
  /** The raw image in Reed-Solomon stripes of 6 data and 3 parity cells: exact. */
  rs63: number;
}

export interface ImageReport {
  image: { path: string; bytes: number; format: string; domain: { name: string; uuid: string } };
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
  /** The policy that would be used now. */
  policy: string;
  /** Pages of every class by the rule that decided. */
  reasons: InspectionFacts['reasons'];
  /** Why pages are critical that a reader might expect to be expendable. */
  notes: InspectionFacts['notes'];
}

/** Works the report out. `configured` joins the presets when it is none of them. */
export function reportOn({ path, image, inspection }: ReportFacts, configured: Policy): ImageReport {
  const amounts = amountsOf(image, inspection);
  const { name, uuid } = image.domain;
  return {
    image: { path, bytes: image.bytes, format: image.format, domain: { name, uuid } },
    guest: inspection.guest,
    ram: inspection.ram,
    classes: byClass((pageClass) => classReport(inspection.classes[pageClass], amounts.classes[pageClass], EXPENDABLE.has(pageClass))),
    skeleton: amounts.skeleton,
    policies: policyReports(configured, amounts),
    natives: nativeCosts(image.bytes, amounts),
    reread: rereadCost(inspection.classes['clean-cache'].payloadPages),
    policy: configured.name,
    reasons: inspection.reasons,
    notes: inspection.notes,
  };
}

function policyReports(configured: Policy, amounts: Amounts): Record<string, PolicyReport> {
  const baseline = presetPolicy('replicate-all');
  const policies = new Map(PRESETS.map((name) => [name as string, presetPolicy(name)]));
  policies.set(configured.name, configured);
  return Object.fromEntries([...policies].map(([name, policy]) => [name, policyReport(compareCost(policy, baseline, amounts))]));
}

function nativeCosts(imageBytes: number, amounts: Amounts): NativeCosts {
  const zstd = costOf(presetPolicy('replicate-all'), amounts).estimatedCompressedBytes;
  return { threeCopies: 3 * imageBytes, estimatedThreeCopiesOfZstd: zstd, rs63: Math.ceil((imageBytes * 9) / 6) };
}

function amountsOf(image: ImageFacts, { classes }: InspectionFacts): Amounts {
  const total = (count: (facts: ClassFacts) => number): number => PAGE_CLASSES.reduce((sum, name) => sum + count(classes[name]), 0);
  const fills = total(({ fillPages }) => fillPages);
  const pagesInImage = total(({ payloadPages }) => payloadPages) + fills;
  const skeleton = Math.max(0, image.bytes - pagesInImage * PAGE_BYTES) + fills * FILL_BYTES;
  // Nobody samples the skeleton: counted as if it did not compress, which errs on the safe side by little.
  return { classes: byClass((name) => classAmount(classes[name])), skeleton: { rawBytes: skeleton, estimatedCompressedBytes: skeleton } };
}

function classAmount({ payloadPages, sample }: ClassFacts): Amount {
  const rawBytes = payloadPages * PAGE_BYTES;
  if (rawBytes === 0) return { rawBytes, estimatedCompressedBytes: 0 };
  return { rawBytes, estimatedCompressedBytes: sample && sample.pages > 0 ? Math.round((payloadPages * sample.compressedBytes) / sample.pages) : null };
}

function classReport(facts: ClassFacts, amount: Amount, expendable: boolean): ClassReport {
  const { pages, payloadPages, fillPages, zeroPages } = facts;
  return { pages, payloadPages, fillPages, zeroPages, expendable, ...amount };
}

function policyReport(cost: PolicyCost): PolicyReport {
  return { storedBytes: cost.rawBytes, ...cost };
}

function byClass<T>(value: (name: PageClass) => T): Record<PageClass, T> {
  return Object.fromEntries(PAGE_CLASSES.map((name) => [name, value(name)])) as Record<PageClass, T>;
}
