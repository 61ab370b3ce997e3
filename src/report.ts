/** The report on an image: what the guest's memory consists of, and what each policy would store of it. A dry run. */
import { EXPENDABLE, PAGE_CLASSES, type PageClass } from './page-classes.js';
import { presetPolicy, PRESETS, type Policy } from './policy.js';
import { type Amount, type Amounts, compareCost, type PolicyCost } from './policy-cost.js';

const PAGE_BYTES = 4096;
/** A page of one repeated word is stored as that word. */
const FILL_BYTES = 8;

/** Pages of one class, as the reader counts them. */
export interface ClassCounts {
  pages: number;
  /** Pages for which the image holds bytes that are not one repeated word. */
  payloadPages: number;
  /** Pages that are one repeated 64-bit word, not zero. */
  fillPages: number;
  zeroPages: number;
  /** Compressed bytes for each payload byte, from samples; null when none was taken. */
  compressedRatio: number | null;
}

/** What the look inside an image says. */
export interface ImageFacts {
  image: { path: string; bytes: number; format: string; domain: { name: string; uuid: string } };
  guest: { introspected: boolean; kernel: string | null; reason: string | null };
  ram: { pageSize: number; pages: number; zeroPages: number };
  classes: Record<PageClass, ClassCounts>;
  /** Why pages are not in a better class: a reason and how many. */
  notes: { reason: string; pages: number }[];
}

export interface ClassReport extends Omit<ClassCounts, 'compressedRatio'>, Amount {
  expendable: boolean;
}

export interface PolicyReport extends PolicyCost {
  /** The same as rawBytes: bytes over all copies before compression. */
  storedBytes: number;
}

export interface ImageReport extends Omit<ImageFacts, 'classes'> {
  classes: Record<PageClass, ClassReport>;
  skeleton: Amount;
  policies: Record<string, PolicyReport>;
  /** The policy that would be used now. */
  policy: string;
}

/** Works the report out. `configured` joins the presets when it is none of them. */
export function reportOn(facts: ImageFacts, configured: Policy): ImageReport {
  const amounts = amountsOf(facts);
  const baseline = presetPolicy('replicate-all');
  const policies = new Map(PRESETS.map((name) => [name as string, presetPolicy(name)]));
  policies.set(configured.name, configured);
  return {
    image: facts.image,
    guest: facts.guest,
    ram: facts.ram,
    classes: byClass((name) => classReport(facts.classes[name], amounts.classes[name], EXPENDABLE.has(name))),
    skeleton: amounts.skeleton,
    policies: Object.fromEntries([...policies].map(([name, policy]) => [name, policyReport(compareCost(policy, baseline, amounts))])),
    policy: configured.name,
    notes: facts.notes,
  };
}

function amountsOf({ image, classes }: ImageFacts): Amounts {
  const total = (count: (counts: ClassCounts) => number): number => PAGE_CLASSES.reduce((sum, name) => sum + count(classes[name]), 0);
  const fills = total(({ fillPages }) => fillPages);
  const pagesInImage = total(({ payloadPages }) => payloadPages) + fills;
  const skeleton = Math.max(0, image.bytes - pagesInImage * PAGE_BYTES) + fills * FILL_BYTES;
  // Nobody samples the skeleton: counted as if it did not compress, which errs on the safe side by little.
  return { classes: byClass((name) => classAmount(classes[name])), skeleton: { rawBytes: skeleton, estimatedCompressedBytes: skeleton } };
}

function classAmount({ payloadPages, compressedRatio }: ClassCounts): Amount {
  const rawBytes = payloadPages * PAGE_BYTES;
  const estimate = rawBytes === 0 ? 0 : compressedRatio === null ? null : Math.round(rawBytes * compressedRatio);
  return { rawBytes, estimatedCompressedBytes: estimate };
}

function classReport(counts: ClassCounts, amount: Amount, expendable: boolean): ClassReport {
  const { pages, payloadPages, fillPages, zeroPages } = counts;
  return { pages, payloadPages, fillPages, zeroPages, expendable, ...amount };
}

function policyReport(cost: PolicyCost): PolicyReport {
  return { storedBytes: cost.rawBytes, ...cost };
}

function byClass<T>(value: (name: PageClass) => T): Record<PageClass, T> {
  return Object.fromEntries(PAGE_CLASSES.map((name) => [name, value(name)])) as Record<PageClass, T>;
}
