// SPDX-License-Identifier: Apache-2.0
/**
 * Saves that the queue leaves alone for a while, because their guests may be started any moment: what was
 * refilled for a start that failed, and, after a boot of the host, what was saved before it. To store such a
 * one is work for nothing, and its start waits for it.
 */
import { join } from 'node:path';
import type { Job } from '../journal/jobs.js';
import { bootTime, type GuestStarts, guestStarts, guestsUnit } from '../libvirt/boot.js';
import { statIfThere } from '../system/absence.js';
import { steadyMs } from '../system/steady-clock.js';

export interface HoldBackOptions {
  stateDir: string;
  /** How long nobody must have started a guest, and a refilled image is left alone. */
  settleMs: number;
  /** When this host was booted, and whether its guests are still being started. */
  bootedMs?: () => Promise<number>;
  starts?: () => Promise<GuestStarts>;
}

interface Save {
  image: string;
  mtimeMs: number;
}

/** What people and tools that start guests after a boot take at most; libvirt-guests may take longer. */
const AFTER_BOOT_MS = 3_600_000;
const LOOK_MS = 2000;

export class HoldBack {
  readonly #stateDir: string;
  readonly #settleMs: number;
  readonly #bootedMs: () => Promise<number>;
  readonly #starts: () => Promise<GuestStarts>;
  #looked = { at: -Infinity, starts: Promise.resolve<GuestStarts>('over') };

  constructor({ stateDir, settleMs, bootedMs = bootTime, starts }: HoldBackOptions) {
    this.#stateDir = stateDir;
    this.#settleMs = settleMs;
    this.#bootedMs = bootedMs;
    this.#starts = starts ?? (async () => guestStarts(await guestsUnit()));
  }

  /** Why a save is left alone now; null when it may go. */
  async reasonFor(save: Save, jobs: readonly Job[]): Promise<string | null> {
    const refilled = lastRefill(jobs.filter(({ image }) => image === save.image));
    if (save.mtimeMs <= refilled && this.#isYoung(refilled))
      return 'it was refilled for a start a moment ago, and may be wanted again';
    const bootedMs = await this.#bootedMs();
    if (save.mtimeMs >= bootedMs || !(await this.#startsAreToCome(bootedMs, jobs))) return null;
    return 'it was saved before this host was booted, and guests are still being started';
  }

  /** Whether a guest was started a moment ago: more are likely to follow, the oldest saves first. */
  async startsCome(jobs: readonly Job[]): Promise<boolean> {
    return this.#isYoung(await this.#lastStart(jobs));
  }

  async #startsAreToCome(bootedMs: number, jobs: readonly Job[]): Promise<boolean> {
    const starts = await this.#look();
    if (starts === 'pending') return true;
    if (Date.now() - bootedMs > AFTER_BOOT_MS) return false;
    return starts === 'listed' || this.#isYoung(Math.max(bootedMs, await this.#lastStart(jobs)));
  }

  /** The hook notes every start of a guest. */
  async #lastStart(jobs: readonly Job[]): Promise<number> {
    const noted = await statIfThere(join(this.#stateDir, 'last-start'));
    return Math.max(noted?.mtimeMs ?? 0, lastRefill(jobs));
  }

  /** What was noted by a clock that was ahead is not waited for until that time comes. */
  #isYoung(ms: number): boolean {
    return Math.abs(Date.now() - ms) < this.#settleMs;
  }

  #look(): Promise<GuestStarts> {
    const now = steadyMs();
    if (now - this.#looked.at >= LOOK_MS) this.#looked = { at: now, starts: this.#starts() };
    return this.#looked.starts;
  }
}

function lastRefill(jobs: readonly Job[]): number {
  const ends = jobs
    .filter(({ kind, state, ended }) => kind === 'hydrate' && state === 'done' && ended !== null)
    .map(({ ended }) => Date.parse(ended ?? ''));
  return Math.max(0, ...ends);
}
