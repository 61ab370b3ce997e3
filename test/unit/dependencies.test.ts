// SPDX-License-Identifier: Apache-2.0
/** What runs beside our own code: JavaScript only, for a binary that somebody else built cannot be read. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

interface Package {
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

const packageIn = (directory: string): Package =>
  JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as Package;

/** Directories of all packages that the program runs with. */
function runtimePackages(): string[] {
  const found = new Set<string>();
  const add = ({ dependencies, optionalDependencies }: Package): void => {
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const directory = join('node_modules', name);
      if (found.has(directory) || !statSync(directory, { throwIfNoEntry: false })) continue;
      found.add(directory);
      add(packageIn(directory));
    }
  };
  add(packageIn('.'));
  return [...found];
}

it('brings no binary that was built elsewhere (row 13)', () => {
  const packages = runtimePackages();
  expect(packages.length).toBeGreaterThan(5);
  const files = packages.flatMap((directory) =>
    readdirSync(directory, { recursive: true, encoding: 'utf8' }).map((name) => join(directory, name)),
  );
  expect(files.filter((name) => /\.(node|wasm|so|dylib|dll|exe)$/.test(name))).toEqual([]);
});
