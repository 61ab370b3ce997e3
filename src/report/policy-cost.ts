// SPDX-License-Identifier: Apache-2.0
/** What a policy would store: exact before compression, estimated after it. */
import { EXPENDABLE, PAGE_BYTES, PAGE_CLASSES, type PageClass } from '../page-classes.js';
import type { Policy } from '../policy/policy.js';
import { parseCoding } from '../stores/coding.js';

/** Bytes of one kind, once. */
export interface Amount {
  /** Before compression: exact. */
  rawBytes: number;
  /** After compression: from samples; null when nobody looked. */
  estimatedCompressedBytes: number | null;
}

/** What an image consists of. */
export interface Amounts {
  classes: Record<PageClass, Amount>;
  /** Everything that is not payload of a class: always stored, as often as critical data. */
  skeleton: Amount;
}

/** What is left to store of these amounts when so many pages of each class stay on the guest's disks. */
export function besidesDisks({ classes, skeleton }: Amounts, pages: Record<PageClass, number>): Amounts {
  const rest = (name: PageClass): Amount => {
    const { rawBytes, estimatedCompressedBytes: compressed } = classes[name];
    const left = Math.max(0, rawBytes - pages[name] * PAGE_BYTES);
    const share = rawBytes === 0 ? 0 : left / rawBytes;
    return {
      rawBytes: left,
      estimatedCompressedBytes: compressed === null ? null : Math.round(compressed * share),
    };
  };
  const entries = PAGE_CLASSES.map((name) => [name, rest(name)]);
  return { classes: Object.fromEntries(entries) as Amounts['classes'], skeleton };
}

/** The same over all copies, and against what `replicate-all` stores: like with like, compressed or not. */
export interface PolicyCost extends Amount {
  savedVsReplicateAll: number;
  estimatedSavedVsReplicateAll: number | null;
}

/** What `policy` stores of these amounts, all copies together; of coded data, with its parity. */
export function costOf(policy: Policy, amounts: Amounts): Amount {
  const coded = policy.coding === undefined ? null : shareKept(policy.coding);
  const parts: [copies: number, amount: Amount][] = PAGE_CLASSES.map((name) => [
    EXPENDABLE.has(name) ? policy.copies[name] : (coded ?? policy.copies[name]),
    amounts.classes[name],
  ]);
  parts.push([coded ?? policy.criticalCopies, amounts.skeleton]);
  return parts.reduce<Amount>(
    (sum, [copies, amount]) => ({
      rawBytes: sum.rawBytes + Math.ceil(copies * amount.rawBytes),
      estimatedCompressedBytes: addScaled(
        sum.estimatedCompressedBytes,
        copies,
        amount.estimatedCompressedBytes,
      ),
    }),
    { rawBytes: 0, estimatedCompressedBytes: 0 },
  );
}

/**
 * The cost of `policy` beside that of `baseline`: three plain copies of the image. `stored`: what the policy
 * does not leave to the guest's disks.
 */
export function compareCost(
  policy: Policy,
  baseline: Policy,
  amounts: Amounts,
  stored: Amounts = amounts,
): PolicyCost {
  const cost = costOf(policy, stored);
  const base = costOf(baseline, amounts);
  const saved = (bytes: number, of: number): number => (of === 0 ? 0 : 1 - bytes / of);
  return {
    ...cost,
    savedVsReplicateAll: saved(cost.rawBytes, base.rawBytes),
    estimatedSavedVsReplicateAll:
      cost.estimatedCompressedBytes === null || base.estimatedCompressedBytes === null
        ? null
        : saved(cost.estimatedCompressedBytes, base.estimatedCompressedBytes),
  };
}

/** Bytes kept for each byte of data: all of it once, and the parity. */
function shareKept(coding: string): number {
  const { data, parity } = parseCoding(coding);
  return (data + parity) / data;
}

/** What is not stored costs nothing, sampled or not. */
function addScaled(sum: number | null, copies: number, bytes: number | null): number | null {
  if (copies === 0) return sum;
  return sum === null || bytes === null ? null : sum + Math.ceil(copies * bytes);
}
