// SPDX-License-Identifier: Apache-2.0
/**
 * The two ways in which a failure may go unheard, each with its name. Everything else looks at the error it
 * catches.
 */

/**
 * Clearing up, or a note beside the work: what had to be done is done, and whatever becomes of this changes
 * nothing.
 * Never for a look: a failed look is not "nothing there".
 */
export async function bestEffort(work: Promise<unknown> | undefined): Promise<void> {
  await Promise.allSettled([work]);
}

/**
 * Somebody awaits this promise later and meets its failure then: until that, it is not to count as
 * unhandled.
 */
export function awaitedElsewhere(work: Promise<unknown>): void {
  void Promise.allSettled([work]);
}
