// SPDX-License-Identifier: Apache-2.0
/** The program, called in the test's own process. */
import { vi } from 'vitest';
import { run } from '../../src/program/program.js';

export interface Ran {
  exitCode: number;
  stdout: string;
  stderr: string;
}

export async function runPars(...argv: string[]): Promise<Ran> {
  const out = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  const err = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  try {
    const exitCode = await run(argv);
    const text = (spy: typeof out): string => spy.mock.calls.map(([chunk]) => String(chunk)).join('');
    return { exitCode, stdout: text(out), stderr: text(err) };
  } finally {
    out.mockRestore();
    err.mockRestore();
  }
}
