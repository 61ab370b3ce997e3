// SPDX-License-Identifier: Apache-2.0
/**
 * A child process whose output is read through a pipe; what it says on stderr is kept, and it ends
 * with the signal or `close`.
 */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { awaitedElsewhere, bestEffort } from './best-effort.js';
import { native } from '../native.js';

const MAX_STDERR = 2048;

export interface Ending {
  /** Its exit code; null when a signal ended it; text when it never ran. */
  code: number | string | null;
  signal: string | null;
  /** "ended with 1", "was ended by SIGKILL" */
  how: string;
  /** ": " and what it said on stderr; empty when it said nothing. */
  said: string;
}

export class PipedChild {
  readonly #child: ChildProcess;
  readonly #readFd: number;
  readonly #exit: Promise<unknown[]>;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = (): void => void this.#child.kill('SIGKILL');
  #reading: Promise<unknown> = Promise.resolve();
  #stderr = '';
  #closed = false;

  /** `stdio`: its descriptors, given that of the pipe's end to write to; 2 should be 'pipe'. */
  constructor(
    command: readonly string[],
    stdio: (writeFd: number) => StdioOptions,
    env: Record<string, string>,
    signal?: AbortSignal,
  ) {
    signal?.throwIfAborted();
    this.#signal = signal;
    const { readFd, writeFd } = native().pipe();
    this.#readFd = readFd;
    const [program = '', ...args] = command;
    try {
      this.#child = spawn(program, args, { stdio: stdio(writeFd), env, cwd: '/' });
    } finally {
      closeSync(writeFd);
    }
    this.#exit = once(this.#child, 'exit');
    awaitedElsewhere(this.#exit);
    this.#child.stdin?.on('error', () => undefined);
    this.#child.stderr?.on('data', (data: Buffer) => {
      if (this.#stderr.length < MAX_STDERR) this.#stderr += data.toString('utf8').slice(0, MAX_STDERR);
    });
    signal?.addEventListener('abort', this.#onAbort);
  }

  get stdin(): Writable | null {
    return this.#child.stdin;
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** The next bytes of its output, as many as fill `into`; fewer only at its end. */
  async read(into: Buffer): Promise<Buffer> {
    const reading = native().readFully(this.#readFd, into);
    this.#reading = bestEffort(reading);
    return into.subarray(0, await reading);
  }

  /** Ends it at once, whatever it is doing; what reads its output comes to the end of that. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Waits for its end. Throws when it was the signal that ended it. */
  async ending(): Promise<Ending> {
    const [code, signal] = (await this.#exit.catch((error: unknown) => [String(error), null])) as [
      Ending['code'],
      Ending['signal'],
    ];
    this.#signal?.throwIfAborted();
    const said = this.#stderr.trim();
    return {
      code,
      signal,
      how: signal === null ? `ended with ${String(code)}` : `was ended by ${signal}`,
      said: said === '' ? '' : `: ${said}`,
    };
  }

  /** Ends it, whatever it is doing. Safe twice. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#child.kill('SIGKILL');
    await bestEffort(this.#exit);
    await this.#reading;
    closeSync(this.#readFd);
  }
}
