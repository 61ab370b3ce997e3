// SPDX-License-Identifier: Apache-2.0
/**
 * What dead disks cost, by policy: when so many are dead now, and in a year. Formulas and sources:
 * docs/reports.md, "Losses". The functions stand on their own, since the HTML report carries them along: one
 * formula, wherever it is worked out.
 */
import { EXPENDABLE, PAGE_CLASSES } from '../page-classes.js';
import type { Policy } from '../policy/policy.js';
import { parseCoding } from '../stores/coding.js';
import type { Amounts } from './policy-cost.js';

export interface DurabilityInputs {
  /** Disks (DataNodes) that copies are spread over. */
  disks: number;
  /** Share of disks that die in a year. */
  annualFailureRate: number;
  /** From a disk's death until its copies exist again elsewhere. */
  repairHours: number;
  /** What lies on a disk as one piece. */
  blockBytes: number;
}

/** 1.5 % a year: what large fleets of disks report (Backblaze, 2013 to 2024: 1.3 to 1.9 %). */
export const DEFAULT_INPUTS: DurabilityInputs = {
  disks: 12,
  annualFailureRate: 0.015,
  repairHours: 6,
  blockBytes: 128 * 2 ** 20,
};

/** Blocks stored alike: each as `cells` pieces on different disks, lost when `fatal` of them are. */
export interface Placement {
  blocks: number;
  cells: number;
  fatal: number;
}

export function choose(n: number, k: number): number {
  let product = k > n ? 0 : 1;
  for (let i = 0; i < k; i++) product *= (n - i) / (k - i);
  return product;
}

/**
 * Share of the blocks that are lost when `dead` of `disks` are dead. Null when there are too few disks to
 * place a block at all.
 */
export function lostShare(disks: number, dead: number, { cells, fatal }: Placement): number | null {
  if (cells > disks) return null;
  let share = 0;
  for (let lost = fatal; lost <= Math.min(cells, dead); lost++)
    share += (choose(dead, lost) * choose(disks - dead, cells - lost)) / choose(disks, cells);
  return Math.min(1, share);
}

/** Chance that any block is lost when `dead` of `disks` are dead. */
export function lossNow(disks: number, dead: number, placement: Placement): number | null {
  const share = lostShare(disks, dead, placement);
  if (share === null || share === 1) return share;
  return -Math.expm1(placement.blocks * Math.log1p(-share));
}

/**
 * Chance that any block is lost within a year: `fatal` disks of one block die within each other's time of
 * repair.
 */
export function lossPerYear(
  { disks, annualFailureRate, repairHours }: DurabilityInputs,
  { blocks, cells, fatal }: Placement,
): number | null {
  if (cells > disks) return null;
  const sets = choose(disks, fatal),
    covered = choose(cells, fatal) / sets;
  const fatalSets =
    covered >= 1 ? (blocks > 0 ? sets : 0) : sets * -Math.expm1(blocks * Math.log1p(-covered));
  const failures = -Math.log1p(-annualFailureRate),
    repairYears = repairHours / 8766;
  let rate = fatalSets * repairYears ** (fatal - 1);
  for (let i = 1; i <= fatal; i++) rate *= i * failures;
  return -Math.expm1(-rate);
}

export interface DeadDisks {
  dead: number;
  /** Chance that the guest cannot be resumed. */
  guestLost: number | null;
  /** What the guest reads again from its own disk, on average. */
  rereadBytes: number | null;
}

export interface Durability {
  /** Chance that the guest is lost within a year. */
  guestLostPerYear: number | null;
  /** Chance that pages it can do without are lost within a year: 1 for what is not stored at all. */
  rereadPerYear: number | null;
  whenDead: DeadDisks[];
}

/** How one image lies on the disks. Free pages are not in it: nobody misses them. */
export interface Scheme {
  /**
   * What the guest cannot do without, kind by kind: each block of `dataCells` blocks' worth of it as `cells`
   * pieces, lost when `fatal` are.
   */
  pieces: { bytes: number; cells: number; fatal: number; dataCells: number }[];
  /** Clean cache: the guest reads again what is lost of it. No cells: not stored. */
  cache: { bytes: number; cells: number };
}

export function piecesOf(
  { bytes, cells, fatal, dataCells }: Scheme['pieces'][number],
  blockBytes: number,
): Placement {
  return { blocks: Math.ceil(bytes / (blockBytes * dataCells)), cells, fatal };
}

export function durabilityOf(inputs: DurabilityInputs, scheme: Scheme): Durability {
  const critical = scheme.pieces.map((piece) => piecesOf(piece, inputs.blockBytes));
  const { bytes, cells } = scheme.cache,
    cache = { blocks: Math.ceil(bytes / inputs.blockBytes), cells, fatal: cells };
  return {
    guestLostPerYear: anyOf(critical.map((placement) => lossPerYear(inputs, placement))),
    rereadPerYear: bytes === 0 ? 0 : cells === 0 ? 1 : lossPerYear(inputs, cache),
    whenDead: [1, 2, 3]
      .filter((dead) => dead <= inputs.disks)
      .map((dead) => {
        const share = bytes === 0 ? 0 : cells === 0 ? 1 : lostShare(inputs.disks, dead, cache);
        return {
          dead,
          guestLost: anyOf(critical.map((placement) => lossNow(inputs.disks, dead, placement))),
          rereadBytes: share === null ? null : Math.round(share * bytes),
        };
      }),
  };
}

/** At least one of several that do not hang together. */
export function anyOf(chances: readonly (number | null)[]): number | null {
  let none = 0;
  for (const chance of chances) {
    if (chance === null) return null;
    none += Math.log1p(-chance);
  }
  return -Math.expm1(none);
}

/** How a policy lays an image out: each class, and what belongs to no page, in its own files. */
export function schemeUnder(policy: Policy, { classes, skeleton }: Amounts): Scheme {
  const code = policy.coding === undefined ? null : parseCoding(policy.coding);
  const kept = (bytes: number, copies: number): Scheme['pieces'][number] =>
    code
      ? { bytes, cells: code.data + code.parity, fatal: code.parity + 1, dataCells: code.data }
      : { bytes, cells: copies, fatal: copies, dataCells: 1 };
  const critical = PAGE_CLASSES.filter((name) => !EXPENDABLE.has(name) && classes[name].rawBytes > 0).map(
    (name) => kept(classes[name].rawBytes, policy.copies[name]),
  );
  return {
    pieces: [...critical, kept(skeleton.rawBytes, policy.criticalCopies)],
    cache: { bytes: classes['clean-cache'].rawBytes, cells: policy.copies['clean-cache'] },
  };
}

/** The whole image as a store keeps it that knows nothing of pages: all of it is critical there. */
export function schemeWhole(bytes: number, how: { cells: number; fatal: number; dataCells: number }): Scheme {
  return { pieces: [{ bytes, ...how }], cache: { bytes: 0, cells: 0 } };
}

/** What the HTML report takes along to work losses out again. */
export const DURABILITY_FUNCTIONS: readonly ((...args: never[]) => unknown)[] = [
  choose,
  lostShare,
  lossNow,
  lossPerYear,
  anyOf,
  piecesOf,
  durabilityOf,
];
