// SPDX-License-Identifier: Apache-2.0
/**
 * Memory for the frames of a stripe, used again for a later one. New buffers for each would drive the
 * garbage collector, which weighs them: through its whole heap for every 64 MiB of an image.
 */

/** Blocks kept for later: some stripes are being packed, and some on their way into the store. */
const MAX_IDLE = 4;
/** Blocks are of whole multiples, so that one fits many stripes. */
const STEP = 4 << 20;

export class StripeMemory {
  readonly #idle: Buffer[] = [];

  /** At least so many bytes, for one stripe. Whoever never releases what he took costs a block, no more. */
  begin(bytes: number): StripeBlock {
    const fits = this.#idle.findIndex((idle) => idle.length >= bytes);
    const memory =
      fits < 0 ? Buffer.allocUnsafeSlow(Math.ceil(bytes / STEP) * STEP) : this.#idle.splice(fits, 1)[0]!;
    return new StripeBlock(memory, () => this.#keep(memory));
  }

  /** The larger ones: they fit everything. */
  #keep(memory: Buffer): void {
    this.#idle.push(memory);
    this.#idle.sort((a, b) => a.length - b.length);
    if (this.#idle.length > MAX_IDLE) this.#idle.shift();
  }
}

export class StripeBlock {
  readonly memory: Buffer;
  readonly #whenFree: () => void;
  #taken = 0;
  /** What was taken and not released, and whoever fills the block. */
  #held = 1;

  constructor(memory: Buffer, whenFree: () => void) {
    this.memory = memory;
    this.#whenFree = whenFree;
  }

  /** The next so many bytes of it. */
  take(bytes: number): Buffer {
    const from = this.#taken;
    this.#taken += bytes;
    this.#held++;
    return this.memory.subarray(from, this.#taken);
  }

  /** Once for each piece taken, and once by whoever filled the block: nobody reads it any more. */
  release(): void {
    if (--this.#held === 0) this.#whenFree();
  }
}
