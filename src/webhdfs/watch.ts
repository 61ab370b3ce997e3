// SPDX-License-Identifier: Apache-2.0
/**
 * Limits a wait for the network, and carries the caller's AbortSignal into it. Its own timer and listener,
 * not AbortSignal.any of AbortSignal.timeout: in Node 20 the garbage collector can take those away before
 * they fire.
 */
import { WebHdfsError, transportError } from './errors.js';

export class Watch {
  readonly #controller = new AbortController();
  readonly #ms: number;
  readonly #outer: AbortSignal | undefined;
  #timedOut = false;

  constructor(ms: number, outer: AbortSignal | undefined) {
    this.#ms = ms;
    this.#outer = outer;
    outer?.addEventListener('abort', this.#stop, { once: true });
    if (outer?.aborted) this.#stop();
  }

  /** Ends what is watched: give it to the request. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Time that passes between waits is the caller's own and does not count. */
  async wait<T>(work: Promise<T>): Promise<T> {
    const timer = setTimeout(() => {
      this.#timedOut = true;
      this.#stop();
    }, this.#ms);
    try {
      return await work;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Lets go of the caller's signal. */
  end(): void {
    this.#outer?.removeEventListener('abort', this.#stop);
  }

  /** Ends the connection too. */
  cancel(): void {
    this.end();
    this.#stop();
  }

  /** What an error out of `wait` means. */
  failure(
    what: string,
    error: unknown,
    place: { node: string; dataNode: boolean; answered?: boolean },
  ): WebHdfsError {
    if (this.#outer?.aborted)
      return new WebHdfsError('aborted', `${what}: aborted`, { ...place, cause: this.#outer.reason });
    if (this.#timedOut)
      return new WebHdfsError('timeout', `${what}: ${place.node} did nothing for ${this.#ms / 1000} s`, {
        ...place,
        cause: error,
      });
    return transportError(what, error, place);
  }

  readonly #stop = (): void => this.#controller.abort();
}
