// SPDX-License-Identifier: Apache-2.0
/** Debian packages of what is built here, and an image to use them on. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { smallImage } from './image-builder.js';

const run = promisify(execFile);

export interface Packages {
  image: string;
  /** Path of the package; of another version than this one's, if it is given. */
  build(version?: string): Promise<string>;
}

/**
 * Gives `use` a directory to work in, which ends with it; returns the lines that the script it names says.
 */
export async function withPackages(
  use: (packages: Packages) => Promise<[script: string, ...args: string[]]>,
): Promise<string[]> {
  const directory = await mkdtemp(join(tmpdir(), 'pars-package-'));
  const image = join(directory, 'small.save');
  const build = async (version?: string): Promise<string> => {
    const env = { ...process.env, ...(version === undefined ? {} : { PARS_PACKAGE_VERSION: version }) };
    return (await run('scripts/package', [directory], { env })).stdout.trim();
  };
  try {
    await writeFile(image, smallImage().bytes);
    const [script, ...args] = await use({ image, build });
    return (await run(script, args)).stdout.trim().split('\n');
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
