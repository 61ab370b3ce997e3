// SPDX-License-Identifier: Apache-2.0
/** Somebody at a terminal: the built program on a real one (script's), its questions and their answers. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { shellWord } from '../../src/system/shell-word.js';

const PROGRAM = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const DEADLINE_MS = 180_000;
/** What moves the cursor. */
const MOVES = /\u001b\[[0-9;]*[A-Za-z]/g;

export class Terminal {
  #seen = '';
  readonly #child: ChildProcess;

  constructor(...args: string[]) {
    const command = [process.execPath, PROGRAM, ...args].map(shellWord).join(' ');
    this.#child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#seen = (this.#seen + text).replace(MOVES, '');
    });
  }

  /** Waits for what the program asks, and types the answer. */
  async answer(question: RegExp, text: string): Promise<void> {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    while (!question.test(this.#seen)) await once(this.#child.stdout!, 'data', { signal });
    this.#seen = '';
    this.#child.stdin?.write(text);
  }

  /** Hangs up, which ends whatever runs on it. */
  stop(): void {
    this.#child.kill();
  }

  async end(): Promise<{ code: number; seen: string }> {
    const [code] = (await once(this.#child, 'close', { signal: AbortSignal.timeout(DEADLINE_MS) })) as [
      number,
    ];
    return { code, seen: this.#seen };
  }
}
