// SPDX-License-Identifier: Apache-2.0
/** A program of the tests put into one file that starts fast. */
import { rename } from 'node:fs/promises';
import { build } from 'esbuild';

/**
 * From `source` to `path`, one level below the root, where the program looks for its binaries. Others may be
 * running it.
 */
export async function bundleProgram(source: string, path: string): Promise<void> {
  const outfile = `${path}.${process.pid}`;
  await build({
    entryPoints: [source],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    logLevel: 'error',
  });
  await rename(outfile, path);
}
