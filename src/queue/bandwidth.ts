// SPDX-License-Identifier: Apache-2.0
/** So many bytes a second and no more, for all who share it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { steadyMs } from '../system/steady-clock.js';

export class Bandwidth {
  readonly #bytesPerSecond: number | null;
  readonly #signal: AbortSignal | undefined;
  /** When the bytes that were let through so far are paid for. */
  #paidAt = 0;

  /** Null: no limit. */
  constructor(bytesPerSecond: number | null, signal?: AbortSignal) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#signal = signal;
  }

  /** Resolves when so many more bytes may go. */
  async take(bytes: number): Promise<void> {
    if (this.#bytesPerSecond === null) return;
    const now = steadyMs();
    const from = Math.max(now, this.#paidAt);
    this.#paidAt = from + (bytes * 1000) / this.#bytesPerSecond;
    if (from > now) await sleep(from - now, undefined, this.#signal && { signal: this.#signal });
  }
}
