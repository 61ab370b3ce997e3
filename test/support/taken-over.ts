// SPDX-License-Identifier: Apache-2.0
/** A reader that was taken over, in place of the true one (fake-reader.ts). */
import type * as ChildProcessModule from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { bundleProgram } from './bundled-program.js';

/** What it does. Without anything it passes on what the true reader says. */
export interface FakePlan {
  /** Modes that it is taken over in; by default all. */
  onlyIn?: string[];
  /** Never answers. */
  hangIn?: true;
  /** A first answer of so many bytes. */
  bigAnswer?: number;
  /** Other facts of the domain. */
  lies?: Record<string, unknown>;
  /** Other facts of the image. */
  imageLies?: Record<string, unknown>;
  /** A first answer of its own. */
  says?: Record<string, unknown>;
  /** All pages behind the head are told to belong to another kind of frame. */
  retellAs?: number;
  /** Those of each stripe are told to lie so many bytes further on. */
  moves?: number;
  /** A page of its own, of that kind, comes with each stripe behind the head. */
  ownPage?: number;
  /** So many bytes behind each table. */
  fatTables?: number;
  /** Stripes of one byte, without end. */
  fineStripes?: true;
  /** Answers without end. */
  floods?: true;
}

/** One level below the root, where the program looks for its binaries. */
const ENTRY = resolve('build/fake-reader.mjs');
const READER = resolve('build/Release/pars-reader');

export const buildFakeReader = (): Promise<void> => bundleProgram('test/support/fake-reader.ts', ENTRY);

/** The command in place of the reader's, but for its arguments. */
function fakeCommand(plan: FakePlan): string[] {
  return [process.execPath, ENTRY, JSON.stringify(plan), READER];
}

/** A program at `path` that is such a reader: for the hook's shell. */
export async function writeFakeReader(path: string, plan: FakePlan): Promise<void> {
  const quoted = fakeCommand(plan).map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
  await writeFile(path, `#!/bin/sh\nexec ${quoted.join(' ')} "$@"\n`, { mode: 0o755 });
}

/** A reader's image is its descriptor 3. */
function imageOf(stdio: ChildProcessModule.StdioOptions | undefined): string {
  const fd: unknown = Array.isArray(stdio) ? stdio[3] : null;
  return typeof fd === 'number' ? readlinkSync(`/proc/self/fd/${fd}`) : '';
}

/** For vi.mock('node:child_process'): readers are taken over as `planNow` says of the image of each. */
export function withTakenOver(
  actual: typeof ChildProcessModule,
  planNow: (image: string) => FakePlan | null,
): typeof ChildProcessModule {
  const spawn = (
    command: string,
    args: string[],
    options: ChildProcessModule.SpawnOptions,
  ): ChildProcessModule.ChildProcess => {
    const plan = command === READER ? planNow(imageOf(options.stdio)) : null;
    if (plan === null) return actual.spawn(command, args, options);
    const [program = '', ...before] = fakeCommand(plan);
    return actual.spawn(program, [...before, ...args], options);
  };
  return { ...actual, spawn: spawn as typeof actual.spawn };
}
