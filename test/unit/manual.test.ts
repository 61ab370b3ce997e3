// SPDX-License-Identifier: Apache-2.0
/** The manual and the completions say what --help says, and the package holds them. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bashCompletion, manualPages, pageName, registeredCommands } from '../../src/program/manual.js';

/** What a reader of the page sees, without a formatter: requests gone, escapes undone. */
function readable(page: string): string {
  return page
    .replace(/^\.(B|I|BR) /gm, '')
    .replace(/^\.\w+.*$/gm, '')
    .replaceAll('\\&', '')
    .replaceAll('\\-', '-')
    .replaceAll('\\e', '\\');
}

const squeezed = (text: string): string => text.replace(/\s+/g, ' ');

describe('the manual', () => {
  it('has a page for every command, with all that its --help says', async () => {
    const pages = await manualPages('1');
    const { commands } = await registeredCommands();
    expect(pages.size).toBe(commands.length + 1);
    for (const { entry, command } of commands) {
      const page = squeezed(readable(pages.get(`${pageName(entry)}.8`) ?? ''));
      // Wide enough that no line is wrapped: each line of the help is a sentence or an item of the page.
      const lines = command
        .configureHelp({ helpWidth: 10_000 })
        .helpInformation()
        .split('\n')
        .slice(1)
        .map((line) => line.trim());
      const said = lines
        .filter((line) => line !== '' && !/^(Usage|Arguments|Options):/.test(line))
        .flatMap((line) => line.split(/ {2,}/));
      expect(said.length).toBeGreaterThan(2);
      for (const piece of said) expect(page, `${entry.words.join(' ')}: ${piece}`).toContain(squeezed(piece));
      expect(pages.get('pars.8')).toContain(`${pageName(entry)} (8)`);
    }
  });

  it.skipIf(spawnSync('groff', ['--version']).status !== 0)('is free of warnings for groff', async () => {
    for (const [name, page] of await manualPages('1')) {
      const { stderr, status } = spawnSync('groff', ['-man', '-Tutf8', '-ww', '-z'], {
        input: page,
        encoding: 'utf8',
      });
      expect({ name, status, stderr }).toEqual({ name, status: 0, stderr: '' });
    }
  });
});

describe('the completion for bash', () => {
  it('offers commands, their options, and files', async () => {
    const root = mkdtempSync(join(tmpdir(), 'pars-completion-'));
    const script = join(root, 'pars');
    writeFileSync(script, await bashCompletion());
    const offers = (...line: string[]): string[] =>
      execFileSync(
        'bash',
        [
          '-c',
          `. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pars; printf '%s\\n' "\${COMPREPLY[@]}"`,
          script,
          ...line,
        ],
        { cwd: root, encoding: 'utf8' },
      )
        .trim()
        .split('\n');
    expect(offers('pars', 'of')).toEqual(['offload']);
    expect(offers('pars', 'store', '')).toEqual(expect.arrayContaining(['init', 'status']));
    expect(offers('pars', 'offload', '--keep')).toEqual(['--keep-local']);
    expect(offers('pars', 'offload', '--quiet', 'pa')).toEqual(['pars']);
    expect(offers('pars', 'store', 'init', '--allow')).toEqual(['--allow-same-device']);
    rmSync(root, { recursive: true });
  });
});
