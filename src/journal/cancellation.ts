// SPDX-License-Identifier: Apache-2.0
/**
 * A running refill is cancelled by a small file beside its job, which the process at work looks for: one that
 * refills several images goes on with the next. A request is for one job only, told by its process and when
 * it began.
 */
import { unlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { ParsError } from '../errors.js';
import { bestEffort } from '../system/best-effort.js';
import { readIfThere } from '../system/absence.js';
import { writeAtomically } from '../system/atomic-file.js';

const LOOK_MS = 250;

/** Which job, as the request names it. */
interface Named {
  pid: number;
  began: string;
}

/** Nothing went wrong: somebody wanted it to end. */
export class Cancelled extends ParsError {
  constructor(image: string) {
    super('refused', `${image} was not refilled: ${CANCELLED}; it is a stub as before`, {
      hint: 'start the guest again to refill it',
    });
  }
}

const CANCELLED = 'cancelled by "pars cancel"';

/** Whether a message of this program, as others kept it, tells of a cancelled refill. */
export function tellsOfCancel(message: string): boolean {
  return message.includes(CANCELLED);
}

/** Watches for the request from when the work first listens to it until the job's end. */
export class Cancellation {
  readonly #path: string;
  readonly #controller = new AbortController();
  readonly #closed = new AbortController();
  readonly #image: string;
  readonly #request: string;
  #watching: Promise<void> | null = null;

  constructor(path: string, image: string, job: Named) {
    this.#path = path;
    this.#image = image;
    this.#request = requestFor(job);
  }

  /** Aborted with a Cancelled. */
  get signal(): AbortSignal {
    this.#watching ??= this.#watch();
    return this.#controller.signal;
  }

  /** What an error of the work means: whatever was thrown after the request is the cancellation. */
  explain(error: unknown): unknown {
    const { signal } = this.#controller;
    return signal.aborted ? signal.reason : error;
  }

  async end(): Promise<void> {
    this.#closed.abort();
    await this.#watching;
    await bestEffort(unlink(this.#path));
  }

  async #watch(): Promise<void> {
    while (!this.#closed.signal.aborted) {
      // What cannot be read asks for nothing: the work matters more.
      const [found] = await Promise.allSettled([readIfThere(this.#path)]);
      if (found.status === 'fulfilled' && found.value === this.#request)
        return this.#controller.abort(new Cancelled(this.#image));
      await bestEffort(sleep(LOOK_MS, undefined, { signal: this.#closed.signal, ref: false }));
    }
  }
}

export async function requestCancel(path: string, job: Named): Promise<void> {
  await writeAtomically(path, requestFor(job));
}

const requestFor = ({ pid, began }: Named): string => `${pid} ${began}\n`;
