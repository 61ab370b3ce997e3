// SPDX-License-Identifier: Apache-2.0
/** What somebody may have meant by a word that is not known. */

/** The candidate most like `typed`; null when none is so alike that it could be a slip of the finger. */
export function nearest(typed: string, candidates: readonly string[]): string | null {
  const ranked = candidates
    .map((candidate) => ({ candidate, slips: slipsBetween(typed, candidate) }))
    .filter(({ candidate, slips }) => slips <= allowedSlips(Math.max(typed.length, candidate.length)))
    .sort((a, b) => a.slips - b.slips);
  return ranked[0]?.candidate ?? null;
}

function allowedSlips(length: number): number {
  return Math.max(1, Math.floor(length / 3));
}

/** Letters left out, added, changed, or swapped with their neighbour: the optimal string alignment. */
function slipsBetween(from: string, to: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, j) => j);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const changed = (last[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      const swapped =
        i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]
          ? (beforeLast[j - 2] ?? 0) + 1
          : Infinity;
      row.push(Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, changed, swapped));
    }
    [beforeLast, last] = [last, row];
  }
  return last[to.length] ?? 0;
}
