#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
/**
 * Every path of this repository that a comment or a document names must be there. Prints those that are not.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const PATH = /(?<![\w./@-])(?:src|native|test|scripts|docs|contrib|hooks)\/[\w./-]*\w/g;
const COMMENT = /^\s*(?:\/\/|\/\*|\*|#)/;
/** Files of results: their paths are of the day they were made. */
const RESULTS = new Set(['CHANGELOG.md', 'docs/guest-matrix.md', 'docs/benchmarks.md']);

const tracked = execFileSync('git', ['ls-files'], { encoding: 'utf8' }).split('\n').filter(Boolean);
const isDocument = (file) => file.endsWith('.md') && !RESULTS.has(file);
const isSource = (file) => /\.(ts|js|cc|hh|gyp|yml)$|^(scripts|hooks|contrib)\/[^.]*$/.test(file);

let missing = 0;
for (const file of tracked.filter((name) => (isDocument(name) || isSource(name)) && existsSync(name))) {
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    if (!isDocument(file) && !COMMENT.test(line)) continue;
    for (const [path] of line.matchAll(PATH)) {
      const candidates = [path, `${path}.ts`, `${path}.cc`, `${path}.hh`, join(dirname(file), path)];
      if (candidates.some((candidate) => existsSync(candidate))) continue;
      console.log(`${file}: ${path} is not there`);
      missing++;
    }
  }
}
process.exitCode = missing === 0 ? 0 : 1;
