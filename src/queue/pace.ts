// SPDX-License-Identifier: Apache-2.0
/**
 * How fast the queue is worked off: all its offloads together within the bandwidth that the configuration
 * allows, and none while a guest of this host is being resumed. Starts come before offloads.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { readJobs } from '../journal/jobs.js';
import { steadyMs } from '../system/steady-clock.js';
import { Bandwidth } from './bandwidth.js';

export interface PaceOptions {
  stateDir: string;
  /** Bytes a second; null: no limit. */
  bandwidth: number | null;
  signal?: AbortSignal;
}

const LOOK_MS = 500;

export class Pace {
  readonly #options: PaceOptions;
  readonly #bandwidth: Bandwidth;
  #looked = { at: -Infinity, starting: Promise.resolve(false) };

  constructor(options: PaceOptions) {
    this.#options = options;
    this.#bandwidth = new Bandwidth(options.bandwidth, options.signal);
  }

  /** Resolves when so many more bytes may be stored. */
  async take(bytes: number): Promise<void> {
    while (await this.#someoneWakes()) await this.#sleep(LOOK_MS);
    await this.#bandwidth.take(bytes);
  }

  #someoneWakes(): Promise<boolean> {
    const now = steadyMs();
    if (now - this.#looked.at >= LOOK_MS)
      this.#looked = { at: now, starting: startsUnderWay(this.#options.stateDir) };
    return this.#looked.starting;
  }

  async #sleep(ms: number): Promise<void> {
    await sleep(ms, undefined, this.#options.signal && { signal: this.#options.signal });
  }
}

/**
 * A stub is being refilled. One that waits for an offload of the same image is not waited for: neither would
 * ever go on.
 */
export async function startsUnderWay(stateDir: string): Promise<boolean> {
  const running = (await readJobs(stateDir)).filter(({ state }) => state === 'running');
  const offloaded = new Set(running.filter(({ kind }) => kind === 'offload').map(({ image }) => image));
  return running.some(({ kind, image }) => kind === 'hydrate' && !offloaded.has(image));
}
