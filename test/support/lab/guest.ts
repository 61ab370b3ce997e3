// SPDX-License-Identifier: Apache-2.0
/** A guest of the laboratory: started, saved, restored, and asked on its console. */
import { readFile } from 'node:fs/promises';
import type { Lab } from '../lab.js';
import { GuestConsole, NO_TROUBLE, SilentGuest } from './guest-console.js';

export interface Answer {
  ok: boolean;
  line: string;
  /** Sectors and requests read from the guest's disks since it was ready. */
  reads: number;
  requests: number;
}

/** The guest kernel's own account, in pages: see lab/guest/kpf.c. */
export type PageCounts = Record<
  | 'present'
  | 'free'
  | 'clean'
  | 'clean_large'
  | 'clean_private'
  | 'dirty'
  | 'mapped_file'
  | 'other_file'
  | 'anon'
  | 'shmem'
  | 'slab'
  | 'pgtable'
  | 'reserved'
  | 'huge'
  | 'offline'
  | 'other',
  number
>;

export class Guest {
  constructor(
    readonly lab: Lab,
    readonly name: string,
    readonly uuid: string,
    readonly console: GuestConsole,
  ) {}

  /** Of the managed save, as seen inside the lab. */
  get imagePath(): string {
    return `/var/lib/libvirt/qemu/save/${this.name}.save`;
  }

  /** The same file, as seen from outside. */
  get hostImagePath(): string {
    return this.lab.hostPath(this.imagePath);
  }

  /**
   * A fresh start, or the waking of a managed save; commands name the guest by UUID, for names can be nasty.
   */
  async start(...flags: string[]): Promise<void> {
    this.console.disconnect();
    await this.lab.virsh('start', this.uuid, ...flags);
  }

  /** Starts and waits until all is in the cache, written back and quiet. */
  async boot(deadlineMs = 300_000): Promise<void> {
    await this.start();
    await this.waitConsole(/^PARS-READY/, deadlineMs);
  }

  /** A guest that stays silent does not live on: where it hangs is in the error. */
  async waitConsole(pattern: RegExp, deadlineMs = 120_000): Promise<string> {
    try {
      return await this.console.wait(pattern, deadlineMs);
    } catch (error) {
      if (!(error instanceof SilentGuest)) throw error;
      throw new Error(`${error.message}\n${await this.#whereItHangs()}`, { cause: error });
    }
  }

  /**
   * Where the guest's init is in its kernel, from the panic that an NMI makes of a guest that still takes
   * one.
   */
  async #whereItHangs(): Promise<string> {
    const before = (await this.transcript()).length;
    await this.lab.virsh('inject-nmi', this.uuid).catch(() => undefined);
    await this.console.wait(/end Kernel panic/, 30_000, NO_TROUBLE).catch(() => undefined);
    const said = (await this.transcript()).slice(before);
    return /task:init [^]*?(?=task:|$)/.exec(said)?.[0] ?? (said || 'it does not even take an NMI');
  }

  send(line: string): Promise<void> {
    return this.console.send(line);
  }

  /** Types a command of lab/guest/main.c and waits for the line that answers it. */
  async ask(command: string, deadlineMs = 300_000): Promise<Answer> {
    await this.send(command);
    const line = await this.waitConsole(/^PARS-(?!READY)[A-Z]+ /, deadlineMs);
    const number = (name: string): number => Number(new RegExp(`${name}=(\\d+)`).exec(line)?.[1] ?? NaN);
    return { ok: /^PARS-[A-Z]+ ok/.test(line), line, reads: number('reads'), requests: number('requests') };
  }

  /**
   * Verifies files through the cache, mappings, anonymous memory, tmpfs and the kernel's log. What is
   * alarming in the log, and all after it, follows the line of the answer.
   */
  async check(deadlineMs?: number): Promise<Answer> {
    const before = (await this.transcript()).length;
    const { line, ...answer } = await this.ask('check', deadlineMs);
    const log = (await this.transcript()).slice(before).match(/^log: .*/gm) ?? [];
    return { ...answer, line: [line, ...log].join('\n') };
  }

  /** Writes into parts of cached pages, appends, truncates, and compares everything again from the disk. */
  deep(deadlineMs?: number): Promise<Answer> {
    return this.ask('deep', deadlineMs);
  }

  async pageCounts(): Promise<PageCounts> {
    const { line } = await this.ask('kpageflags');
    if (!line.startsWith('PARS-KPF {')) throw new Error(line);
    return JSON.parse(line.slice('PARS-KPF '.length)) as PageCounts;
  }

  async kernelRelease(): Promise<string> {
    return (await this.ask('kernel')).line.replace(/^PARS-KERNEL /, '');
  }

  managedSave(...flags: string[]): Promise<string> {
    return this.lab.virsh('managedsave', this.uuid, ...flags);
  }

  save(path: string, ...flags: string[]): Promise<string> {
    return this.lab.virsh('save', this.uuid, path, ...flags);
  }

  async restore(path: string, ...flags: string[]): Promise<void> {
    this.console.disconnect();
    await this.lab.virsh('restore', path, ...flags);
  }

  async state(): Promise<string> {
    return this.lab.virsh('domstate', this.uuid);
  }

  destroy(): Promise<string> {
    return this.lab.virsh('destroy', this.uuid);
  }

  /** What the guest has said so far. */
  transcript(): Promise<string> {
    return readFile(this.console.logPath, 'latin1');
  }
}
