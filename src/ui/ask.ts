// SPDX-License-Identifier: Apache-2.0
/** Questions to a person at a terminal. */
import { createInterface } from 'node:readline/promises';

export interface Question {
  text: string;
  /** What an empty answer means. */
  preset: string;
  /** Null: the answer will do; else why not. */
  refuse?(answer: string): string | null;
}

/** Somebody is there to answer. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** Asks until an answer will do. On stderr: stdout is for results. */
export async function ask({ text, preset, refuse }: Question, signal: AbortSignal): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  // It has the terminal to itself, Ctrl-C included: that is to end the program as it does anywhere else.
  lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  try {
    for (;;) {
      const typed = (await lines.question(`${text}${preset && ` [${preset}]`}: `, { signal })).trim();
      const answer = typed === '' ? preset : typed;
      const why = answer === '' ? 'please answer, or stop with Ctrl-C' : (refuse?.(answer) ?? null);
      if (why === null) return answer;
      process.stderr.write(`  ${why}\n`);
    }
  } finally {
    lines.close();
  }
}
