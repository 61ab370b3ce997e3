#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
/** The entry point: answers --version before anything is loaded, hands the rest to the program. */
import { version } from './version.js';

const argv = process.argv.slice(2);

if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) {
  process.stdout.write(`${version()}\n`);
} else {
  const [{ run }, { ignoreClosedPipe }] = await Promise.all([
    import('./cli/program.js'),
    import('./ui/output.js'),
  ]);
  ignoreClosedPipe();
  process.exitCode = await run(argv);
}
