// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where this program lies: the directory of its package.json. What runs is one level below it, in dist. */
export const PACKAGE_ROOT = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');

/** Marks a copy of the program that the hook runs. */
export const COPY_MARK = '.pars-program';

interface PackageJson {
  version: string;
  /** What brought the program, where a package did. */
  installedBy?: string;
}

function packageJson(): PackageJson {
  return JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8')) as PackageJson;
}

/** The version of this program, from its package. */
export function version(): string {
  return packageJson().version;
}

/** The version, and how the program came here. */
export function versionLine(): string {
  return `${version()} (${origin()})`;
}

function origin(): string {
  const { installedBy } = packageJson();
  if (readdirSync(PACKAGE_ROOT).includes(COPY_MARK)) return `the hook's copy in ${PACKAGE_ROOT}`;
  return installedBy ?? `built from source in ${PACKAGE_ROOT}`;
}

/** "pars --version", in each way that people ask for it. */
export function isVersionCall(argv: readonly string[]): boolean {
  return argv.length === 1 && ['--version', '-v', '-V', 'version'].includes(argv[0] ?? '');
}
