// SPDX-License-Identifier: Apache-2.0
/**
 * A guest's serial console: what it says is read from QEMU's log file, which has everything from the first
 * byte on and survives a save and a restore; what it is told goes through QEMU's socket.
 */
import { watch, type FSWatcher } from 'node:fs';
import { open, readFile, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';

const TROUBLE = /PARS-FAIL|Kernel panic/;
export const NO_TROUBLE = /(?!)/;

const PANIC_ENDS = /end Kernel panic/;
const PANIC_DEADLINE_MS = 10_000;

/** A deadline that passed without a word that was waited for. */
export class SilentGuest extends Error {}

export class GuestConsole {
  #socket: Socket | undefined;
  /** Bytes of the log already consumed by a successful wait. */
  #consumed = 0;

  constructor(
    readonly socketPath: string,
    readonly logPath: string,
  ) {}

  /** The log must exist before anyone can watch it; QEMU appends. */
  async prepare(): Promise<void> {
    await writeFile(this.logPath, '', { flag: 'a', mode: 0o600 });
  }

  /**
   * The first line from here on that matches; later waits begin after it. A guest in trouble fails at once.
   */
  async wait(pattern: RegExp, deadlineMs: number, trouble = TROUBLE): Promise<string> {
    const changed = new Change(this.logPath);
    const end = Date.now() + deadlineMs;
    try {
      for (;;) {
        changed.rearm();
        const lines = await this.#unread();
        const found = this.#take(lines, pattern);
        if (found !== undefined) return found;
        const complaint = lines.find((line) => trouble.test(line));
        if (complaint !== undefined) throw new Error(await this.#whyInTrouble(complaint));
        if (!(await changed.before(end))) {
          throw new SilentGuest(
            `no ${String(pattern)} on ${this.logPath} in ${deadlineMs} ms; last: `
              + `${lines.slice(-3).join('').trim()}`,
          );
        }
      }
    } finally {
      changed.close();
    }
  }

  /**
   * What it complains of; of a panic all that it has said since its last answer, for nobody can ask that
   * guest again.
   */
  async #whyInTrouble(complaint: string): Promise<string> {
    const said = `the guest says: ${complaint.trim()}`;
    if (!complaint.includes('Kernel panic')) return said;
    const from = this.#consumed;
    await this.wait(PANIC_ENDS, PANIC_DEADLINE_MS, NO_TROUBLE).catch(() => undefined);
    return `${said}\n${(await readFile(this.logPath, 'latin1')).slice(from)}`;
  }

  async send(line: string): Promise<void> {
    const socket = await this.#connected();
    await new Promise<void>((resolve, reject) => {
      socket.write(`${line}\n`, (error) => (error ? reject(error) : resolve()));
    });
  }

  /**
   * QEMU, or libvirt on its behalf, makes a new socket at every start: the old connection is worthless then.
   */
  disconnect(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  async #connected(): Promise<Socket> {
    if (this.#socket !== undefined && !this.#socket.destroyed) return this.#socket;
    const socket = connect(this.socketPath);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => socket.destroy());
    socket.resume(); // What the guest says is read from the log; here it must only not pile up.
    socket.unref();
    this.#socket = socket;
    return socket;
  }

  #take(lines: string[], pattern: RegExp): string | undefined {
    const at = lines.findIndex((line) => pattern.test(line));
    if (at < 0) return undefined;
    this.#consumed += Buffer.byteLength(lines.slice(0, at + 1).join(''), 'latin1');
    return lines[at]?.trim();
  }

  /** Complete lines only, their ends included. latin1 keeps a byte a character. */
  async #unread(): Promise<string[]> {
    const log = await open(this.logPath, 'r');
    try {
      const { size } = await log.stat();
      const bytes = Buffer.alloc(Math.max(0, size - this.#consumed));
      const { bytesRead } = await log.read(bytes, 0, bytes.length, this.#consumed);
      return bytes.toString('latin1', 0, bytesRead).match(/[^\n]*\n/g) ?? [];
    } finally {
      await log.close();
    }
  }
}

/** Tells that a file has changed since rearm(), also when the change came before anybody waited. */
class Change {
  #watcher: FSWatcher;
  #seen = false;
  #wake: (() => void) | undefined;

  constructor(path: string) {
    this.#watcher = watch(path, () => {
      this.#seen = true;
      this.#wake?.();
    });
  }

  rearm(): void {
    this.#seen = false;
  }

  /** Resolves to false when `end` (a clock time in ms) comes first. */
  async before(end: number): Promise<boolean> {
    if (this.#seen) return true;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, Math.max(0, end - Date.now()));
    });
    clearTimeout(timer);
    this.#wake = undefined;
    return this.#seen;
  }

  close(): void {
    this.#watcher.close();
  }
}
