#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
/** The entry point: answers --version before anything is loaded, hands the rest to the program. */
import { isVersionCall, versionLine } from './version.js';

/** Runs a command line, and leaves its exit code with the process. */
async function main(argv: readonly string[]): Promise<void> {
  if (isVersionCall(argv)) {
    process.stdout.write(`${versionLine()}\n`);
    return;
  }
  const [{ run }, { watchOutput }] = await Promise.all([
    import('./program/program.js'),
    import('./ui/output.js'),
  ]);
  watchOutput();
  process.exitCode = await run(argv);
}

// No await out here: a package brings this as a script of the older kind, which starts in half the time.
void main(process.argv.slice(2));
