// SPDX-License-Identifier: Apache-2.0
/**
 * How long this process waits for a reader, all waits together. The reader's own limit counts processor time
 * only, and one that a hostile image has taken over may do nothing at all.
 */
import { ParsError } from '../errors.js';

/** Header, XML and the record of a stub: a few milliseconds, seconds where the disk is busy. */
const PROBE_MS = 10_000;
/** All of an image is read, from a slow disk perhaps. */
const LOOK_MS = 300_000;
const BYTES_A_MS = 8192;

/** In milliseconds. */
export function patienceMs(mode: string, imageBytes: number): number {
  return mode === 'probe' ? PROBE_MS : LOOK_MS + Math.ceil(imageBytes / BYTES_A_MS);
}

export class Patience {
  readonly #onEnd: () => void;
  readonly #all: number;
  #left: number;

  /** For `ms` in all. `onEnd`: ends the reader. */
  constructor(ms: number, onEnd: () => void) {
    this.#all = ms;
    this.#left = ms;
    this.#onEnd = onEnd;
  }

  /** Waits for what the reader does. Throws when it takes too long. */
  async during<T>(work: Promise<T>): Promise<T> {
    const began = performance.now();
    let timer: NodeJS.Timeout | undefined;
    const tooLong = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => {
          this.#onEnd();
          reject(this.#tooSlow());
        },
        Math.max(1, Math.min(this.#left, 2 ** 31 - 1)),
      );
    });
    try {
      return await Promise.race([work, tooLong]);
    } finally {
      clearTimeout(timer);
      this.#left -= performance.now() - began;
    }
  }

  /** Throws when no time is left. */
  check(): void {
    if (this.#left <= 0) throw this.#tooSlow();
  }

  #tooSlow(): ParsError {
    return new ParsError(
      'refused',
      `pars-reader gave no answer within ${Math.round(this.#all / 1000)} s, and was ended`,
      {
        hint:
          'nothing was changed. Is the disk of the image very slow? Else the image may be hostile: '
          + 'keep it and report this',
      },
    );
  }
}
