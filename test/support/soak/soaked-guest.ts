// SPDX-License-Identifier: Apache-2.0
/** One guest of a soak: saved and started again and again, whatever happens around it. */
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isMissing } from '../../../src/system/absence.js';
import type { Guest } from '../lab.js';
import { bytesOnDisk, type ParsHost, STUB_LIMIT } from '../pars-host.js';
import type { Gate } from './gate.js';
import type { Random } from './random.js';
import type { Trouble, Troubles } from './troubles.js';

export interface Counts {
  saves: number;
  stubsSeen: number;
  startsFromStub: number;
  startsFromWhole: number;
  boots: number;
  failedForItsOwnReason: number;
  refusedInTrouble: number;
  checks: number;
}

/** What the time of a cycle goes into. */
export const PHASES = [
  'saving',
  'until it is a stub',
  'starting',
  'booting',
  'checking',
  'all of it',
] as const;
export type Phase = (typeof PHASES)[number];

/** With one trouble after the other around, and a store that takes its time to work again after each. */
const STUB_DEADLINE_MS = 900_000;
const UP_DEADLINE_MS = 600_000;
const MEMORY_MIB = 128;
const MUTE: readonly Trouble[] = ['libvirtd restarted', 'libvirtd killed', 'power cut'];

export class SoakedGuest {
  readonly counts: Counts = {
    saves: 0,
    stubsSeen: 0,
    startsFromStub: 0,
    startsFromWhole: 0,
    boots: 0,
    failedForItsOwnReason: 0,
    refusedInTrouble: 0,
    checks: 0,
  };
  readonly spentMs = new Map<Phase, number>();
  /** virsh has said that the guest is saved, and nobody has started it since. */
  #isSaved = false;

  private constructor(
    readonly host: ParsHost,
    readonly guest: Guest,
    readonly needed: string,
    readonly troubles: Troubles,
    readonly gate: Gate,
    readonly random: Random,
  ) {}

  static async boot(
    host: ParsHost,
    number: number,
    troubles: Troubles,
    random: Random,
  ): Promise<SoakedGuest> {
    const needed = join(host.lab.dir, `needed-${number}`);
    await mkdir(needed);
    const guest = await host.boot({
      name: `soak-${number}`,
      memoryMiB: MEMORY_MIB,
      cmdline: 'pars.fill=30 pars.anon=8 pars.tmpfs=4',
      disks: [{ fs: number % 2 === 0 ? 'ext4' : 'xfs', generate: 48 }],
      elements: `<devices><parallel type='file'><source path='${needed}/log'/></parallel></devices>`,
    });
    return new SoakedGuest(host, guest, needed, troubles, troubles.gate, random);
  }

  cycle(): Promise<void> {
    return this.#spend('all of it', () => this.#cycle());
  }

  async #cycle(): Promise<void> {
    await this.#save();
    if (this.random.chance(0.6)) await this.untilStub();
    else await sleep(this.random.between(0, 6000));
    if (this.random.chance(0.2)) await this.#failToStart();
    await this.bringUp();
    await this.#check('check');
    if (this.random.chance(0.1)) await this.#check('deep');
  }

  /** When nothing is amiss any more; the last cut may have come after its last cycle. */
  async saveToStub(): Promise<void> {
    await this.bringUp();
    await this.guest.managedSave();
    this.#isSaved = true;
    await this.untilStub();
  }

  async startAndCheck(): Promise<void> {
    await this.guest.start();
    this.#isSaved = false;
    for (const kind of ['check', 'deep'] as const) {
      const { ok, line } = await this.guest[kind]();
      if (!ok) throw new Fault(`${this.guest.name} says at the end: ${line}`);
    }
  }

  /** Also where a cut or a restart of libvirtd comes between: it may be off, or running, afterwards. */
  async #save(): Promise<void> {
    const began = Date.now();
    try {
      await this.#spend('saving', () => this.guest.managedSave());
      this.#isSaved = true;
      this.counts.saves++;
    } catch (error) {
      this.#excuse(error, began, 'its save');
    }
  }

  /** As the timer does, the queue is worked off once more from time to time. */
  untilStub(): Promise<void> {
    return this.#spend('until it is a stub', () => this.#untilStub());
  }

  async #untilStub(): Promise<void> {
    if (!this.#isSaved) return;
    const end = Date.now() + STUB_DEADLINE_MS;
    for (let next = Date.now() + 10_000; Date.now() < end; await sleep(250)) {
      if ((await bytesOnDisk(this.guest.hostImagePath)) < STUB_LIMIT) {
        this.counts.stubsSeen++;
        return;
      }
      if (Date.now() < next) continue;
      await this.host.try('offload', '--pending', '--quiet');
      next = Date.now() + 10_000;
    }
    throw new Fault(`${this.guest.name} is no stub after ${STUB_DEADLINE_MS} ms`);
  }

  async #failToStart(): Promise<void> {
    if (!this.#isSaved) return;
    await rm(this.needed, { recursive: true });
    const began = Date.now();
    try {
      await this.guest.start();
      throw new Fault(`${this.guest.name} started although ${this.needed} is not there`);
    } catch (error) {
      if (error instanceof Fault) throw error;
      if (/needed/.test(String(error))) this.counts.failedForItsOwnReason++;
      else this.#excuse(error, began, 'a start that is to fail');
    } finally {
      await mkdir(this.needed);
    }
    if (this.random.chance(0.5)) await this.untilStub();
  }

  /** Runs when this returns; what a start was refused for must have been around. */
  async bringUp(): Promise<void> {
    for (const end = Date.now() + UP_DEADLINE_MS; ; await sleep(500)) {
      const began = Date.now();
      try {
        const state = await this.guest.state();
        if (state === 'running') return;
        if (state === 'paused') await this.host.lab.virsh('resume', this.guest.uuid);
        else if (state !== 'shut off') continue;
        else await this.#start();
        return;
      } catch (error) {
        if (error instanceof Fault || Date.now() > end) throw error;
        this.#excuse(error, began, 'its start');
      }
    }
  }

  async #start(): Promise<void> {
    const found = await this.#found();
    if (found === 'none') {
      if (this.#isSaved) throw new Fault(`the managed save of ${this.guest.name} is gone`);
      await this.#spend('booting', () => this.gate.shared(() => this.guest.boot()));
      this.counts.boots++;
      return;
    }
    const began = Date.now();
    try {
      await this.#spend('starting', () => this.guest.start());
      this.#isSaved = false;
    } catch (error) {
      // It may have been started all the same, and its save be gone, where nobody was left to say so.
      const around = this.troubles.since(began);
      if (MUTE.some((kind) => around.has(kind))) this.#isSaved = false;
      throw error;
    }
    if (found === 'stub') this.counts.startsFromStub++;
    else this.counts.startsFromWhole++;
  }

  /** What libvirt would start from. An image that is not complete it throws away. */
  async #found(): Promise<'none' | 'stub' | 'whole'> {
    const path = this.guest.hostImagePath;
    try {
      const file = await open(path);
      const { bytesRead, buffer } = await file.read(Buffer.alloc(16), 0, 16, 0).finally(() => file.close());
      if (bytesRead < 16 || buffer.toString('latin1') !== 'LibvirtQemudSave') return 'none';
      return (await bytesOnDisk(path)) < STUB_LIMIT ? 'stub' : 'whole';
    } catch (error) {
      if (isMissing(error)) return 'none';
      throw error;
    }
  }

  #check(kind: 'check' | 'deep'): Promise<void> {
    return this.#spend('checking', () => this.gate.shared(() => this.#ask(kind)));
  }

  async #ask(kind: 'check' | 'deep'): Promise<void> {
    if ((await this.guest.state().catch(() => '')) !== 'running') return; // a cut came between
    const { ok, line } = await this.guest[kind]();
    if (!ok) throw new Fault(`${this.guest.name} says: ${line}`);
    this.counts.checks++;
  }

  async #spend<T>(phase: Phase, work: () => Promise<T>): Promise<T> {
    const began = Date.now();
    try {
      return await work();
    } finally {
      this.spentMs.set(phase, (this.spentMs.get(phase) ?? 0) + Date.now() - began);
    }
  }

  #excuse(error: unknown, began: number, what: string): void {
    const around = this.troubles.since(began);
    if (around.size === 0)
      throw new Fault(`${what} of ${this.guest.name} failed although nothing was amiss`, { cause: error });
    this.counts.refusedInTrouble++;
    this.troubles.say(`${this.guest.name}: ${what} failed: ${String(error).split('\n')[0]?.slice(0, 160)}`);
  }
}

/** What the soak is to find. */
export class Fault extends Error {}
