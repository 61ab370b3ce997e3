// SPDX-License-Identifier: Apache-2.0
/**
 * Memory for the frames of a stripe, used again for a later one. New buffers for each would drive the
 * garbage collector, which weighs them: through its whole heap for every 64 MiB of an image.
 */

/** Blocks kept for later: a stripe or two are on their way into the store while the next is read. */
const MAX_IDLE = 3;
/** Blocks are of whole multiples, and never larger than this, whatever the reader sends. */
const STEP = 1 << 20;
const MAX_BLOCK = 32 * STEP;

export class StripeMemory {
  readonly #idle: Buffer[] = [];
  /** Enough for the largest stripe so far. */
  #wanted = 4 * STEP;

  /** For one stripe. Whoever never releases what he took costs a block, nothing else. */
  begin(): StripeBlock {
    const block = this.#idle.pop() ?? Buffer.allocUnsafeSlow(this.#wanted);
    return new StripeBlock(block, (taken) => {
      this.#wanted = Math.min(Math.max(this.#wanted, Math.ceil(taken / STEP) * STEP), MAX_BLOCK);
      if (block.length >= this.#wanted && this.#idle.length < MAX_IDLE) this.#idle.push(block);
    });
  }
}

export class StripeBlock {
  readonly #memory: Buffer;
  readonly #whenFree: (taken: number) => void;
  #taken = 0;
  /** What was taken and not released, and whoever fills the block. */
  #held = 1;

  constructor(memory: Buffer, whenFree: (taken: number) => void) {
    this.#memory = memory;
    this.#whenFree = whenFree;
  }

  /** So many bytes: of the block, or of their own where it is too small. */
  take(bytes: number): Buffer {
    const from = this.#taken;
    this.#taken += bytes;
    this.#held++;
    return this.#taken <= this.#memory.length
      ? this.#memory.subarray(from, this.#taken)
      : Buffer.allocUnsafeSlow(bytes);
  }

  /** Once for each piece taken, and once by whoever has taken them all: nobody reads it any more. */
  release(): void {
    if (--this.#held === 0) this.#whenFree(this.#taken);
  }
}
