// SPDX-License-Identifier: Apache-2.0
// package-files.js TREE: puts into TREE what the program itself makes: its manual and its completions.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bashCompletion, zshCompletion } from '../dist/program/completion.js';
import { manualPages } from '../dist/program/manual.js';
import { version } from '../dist/version.js';

const share = join(process.argv[2], 'usr/share');
for (const [name, page] of await manualPages(version())) await writeFile(join(share, 'man/man8', name), page);
await writeFile(join(share, 'bash-completion/completions/pars'), await bashCompletion());
await writeFile(join(share, 'zsh/vendor-completions/_pars'), await zshCompletion());
