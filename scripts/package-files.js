// SPDX-License-Identifier: Apache-2.0
// package-files.js TREE: puts into TREE what is made by the program itself: its copy, its manual, its
// completions.
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bashCompletion, manualPages, zshCompletion } from '../dist/cli/manual.js';
import { installProgram } from '../dist/install/program-copy.js';
import { version } from '../dist/version.js';

const tree = process.argv[2];
const { directory } = await installProgram(join(tree, 'usr/lib/copy'));
// dpkg owns it, not "pars hooks uninstall".
await rm(join(directory, '.pars-program'));
await rename(directory, join(tree, 'usr/lib/pars'));
await rm(join(tree, 'usr/lib/copy'), { recursive: true });
for (const [name, page] of await manualPages(version()))
  await writeFile(join(tree, 'usr/share/man/man8', name), page);
await writeFile(join(tree, 'usr/share/bash-completion/completions/pars'), await bashCompletion());
await writeFile(join(tree, 'usr/share/zsh/vendor-completions/_pars'), await zshCompletion());
