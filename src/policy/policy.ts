// SPDX-License-Identifier: Apache-2.0
/** How many copies of each page class a store keeps. */
import { ParsError } from '../errors.js';
import { EXPENDABLE, PAGE_CLASSES, type PageClass } from '../page-classes.js';

export const PRESETS = ['replicate-all', 'pars', 'lean', 'minimal'] as const;
export type PresetName = (typeof PRESETS)[number];

export const DEFAULT_PRESET: PresetName = 'lean';

/** More copies than this is a slip of the finger. */
export const MAX_COPIES = 16;

/** Critical data with fewer copies than this is one disk away from lost. */
export const MIN_CRITICAL_COPIES = 2;

export type Copies = Record<PageClass, number>;

export interface Policy {
  name: string;
  /** 0: not stored. */
  copies: Copies;
  /** Copies of manifest, index, skeleton and recovery: the most that any critical class gets. */
  criticalCopies: number;
  /**
   * Erasure coding of the packs of critical data in place of copies, as the store calls it: RS-3-2-1024k.
   * Only some stores can.
   */
  coding?: string | undefined;
  /** Pages that the guest's own disks hold stay there alone: references are stored in their place. */
  disk?: boolean | undefined;
}

/** A policy as the configuration writes it: a preset, or a preset with changes. */
export interface PolicySpec {
  base: PresetName;
  classes: { [pageClass in PageClass]?: number | undefined };
  /** Critical classes below 2 copies are meant. */
  force: boolean;
  /** A coding as people write it, for critical classes: rs-3-2. */
  critical?: string | undefined;
}

const PRESET_COPIES: Record<PresetName, { critical: number; free: number; cleanCache: number }> = {
  'replicate-all': { critical: 3, free: 3, cleanCache: 3 },
  pars: { critical: 3, free: 1, cleanCache: 1 },
  lean: { critical: 3, free: 0, cleanCache: 1 },
  minimal: { critical: 3, free: 0, cleanCache: 0 },
};

/** Those that leave to the guest's own disks what these hold. */
const USES_DISKS: ReadonlySet<PresetName> = new Set(['lean', 'minimal']);

export function isPreset(name: string): name is PresetName {
  return (PRESETS as readonly string[]).includes(name);
}

/** The preset of that name. */
export function presetPolicy(name: PresetName): Policy {
  const { critical, free, cleanCache } = PRESET_COPIES[name];
  const copyCount = (pageClass: PageClass): number =>
    pageClass === 'free' ? free : pageClass === 'clean-cache' ? cleanCache : critical;
  return policyOf(name, copiesBy(copyCount), USES_DISKS.has(name));
}

/** A policy by name, as on the command line or in a guest's metadata. */
export function policyByName(name: string): Policy {
  if (isPreset(name)) return presetPolicy(name);
  throw new ParsError('usage', `there is no policy "${name}"`, { hint: `policies: ${PRESETS.join(', ')}` });
}

/** A preset with changes. Refused when a critical class would have fewer than 2 copies, unless forced. */
export function customPolicy(spec: PolicySpec): Policy {
  const base = presetPolicy(spec.base);
  const policy = policyOf(
    'custom',
    copiesBy((pageClass) => spec.classes[pageClass] ?? base.copies[pageClass]),
    USES_DISKS.has(spec.base),
  );
  if (!spec.force) refuseThinCritical(policy);
  if (spec.critical === undefined) return policy;
  refuseMixed(spec);
  return { ...policy, coding: codingName(spec.critical) };
}

const CODING = /^[a-z]+(?:-[a-z]+)*-\d{1,3}-\d{1,3}(-\d{1,6}k)?$/i;

export function isCoding(text: string): boolean {
  return CODING.test(text);
}

/** rs-3-2 as HDFS calls it: RS-3-2-1024k. */
function codingName(text: string): string {
  const name = /k$/i.test(text) ? text : `${text}-1024k`;
  return name.toUpperCase().replace(/K$/, 'k');
}

/** A class with a number of its own would have neither. */
function refuseMixed({ classes, critical }: PolicySpec): void {
  const named = PAGE_CLASSES.filter((name) => !EXPENDABLE.has(name) && classes[name] !== undefined);
  if (named.length === 0) return;
  throw new ParsError(
    'usage',
    `critical data is to be coded as ${critical}, but the policy names copies of ${named.join(', ')}`,
    { hint: 'name one or the other' },
  );
}

/**
 * The same policy with at least one copy of the clean cache: its guest may not be able to read that again.
 */
export function withCacheKept(policy: Policy): Policy {
  return {
    ...policy,
    copies: { ...policy.copies, 'clean-cache': Math.max(1, policy.copies['clean-cache']) },
  };
}

/** The classes of which a store keeps at least one copy, in class order. */
export function storedClasses(policy: Policy): PageClass[] {
  return PAGE_CLASSES.filter((pageClass) => policy.copies[pageClass] > 0);
}

/** The most copies that a policy keeps of anything. */
export function mostCopies({ copies, criticalCopies }: Policy): number {
  return Math.max(criticalCopies, ...Object.values(copies));
}

function copiesBy(count: (pageClass: PageClass) => number): Copies {
  return Object.fromEntries(PAGE_CLASSES.map((pageClass) => [pageClass, count(pageClass)])) as Copies;
}

function policyOf(name: string, copies: Copies, disk: boolean): Policy {
  const critical = PAGE_CLASSES.filter((pageClass) => !EXPENDABLE.has(pageClass));
  const criticalCopies = Math.max(...critical.map((pageClass) => copies[pageClass]));
  return { name, copies, criticalCopies, ...(disk && { disk }) };
}

function refuseThinCritical(policy: Policy): void {
  const thin = PAGE_CLASSES.filter(
    (pageClass) => !EXPENDABLE.has(pageClass) && policy.copies[pageClass] < MIN_CRITICAL_COPIES,
  );
  if (thin.length === 0) return;
  const list = thin.map((pageClass) => `${pageClass}: ${policy.copies[pageClass]}`).join(', ');
  throw new ParsError(
    'refused',
    `critical classes need at least ${MIN_CRITICAL_COPIES} copies, but the policy says ${list}`,
    {
      hint: 'raise them, or set "force: true" in the policy if losing the guest with one disk is acceptable',
    },
  );
}
