// SPDX-License-Identifier: Apache-2.0
/** The manual says what --help says, and has a page wherever man looks for one. */
import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { Cli } from '../../src/cli/context.js';
import { examplesOf } from '../../src/program/examples.js';
import { manualPages, pageName } from '../../src/program/manual.js';
import { buildProgram } from '../../src/program/program.js';
import { registeredCommands } from '../../src/program/registered.js';
import { GROUPS } from '../../src/program/table.js';

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
    expect(pages.size).toBe(commands.length + Object.keys(GROUPS).length + 1);
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
      expect(said.join(' ')).not.toMatch(/default: [[{]/);
      for (const piece of said) expect(page, `${entry.words.join(' ')}: ${piece}`).toContain(squeezed(piece));
      expect(pages.get('pars.8')).toContain(`${pageName(entry)} (8)`);
    }
  });

  it('has a page for the first word of a command of two, with all that may follow', async () => {
    const store = squeezed(readable((await manualPages('1')).get('pars-store.8') ?? ''));
    for (const word of ['init', 'status']) expect(store).toContain(`pars-store-${word}`);
    expect(store).toContain('pars store init');
    // What "man pars store init" shows says how to get the page that was meant.
    expect(store).toMatch(
      /"man pars store init" opens this page.*"man pars-store-init", "man pars-store-status"/,
    );
  });

  it('has examples on every page, of options and arguments that the command takes', async () => {
    const pages = await manualPages('1');
    for (const { entry, command } of (await registeredCommands()).commands) {
      const examples = examplesOf(entry.words);
      const name = entry.words.join(' ');
      expect(examples.length, name).toBeGreaterThan(0);
      for (const { call, what } of examples) {
        const words = call.split(' ').slice(1);
        const called: string[] = [];
        const program = await buildProgram(words, new Cli());
        for (const one of [
          program,
          ...program.commands,
          ...program.commands.flatMap((each) => each.commands),
        ])
          one.exitOverride().action(() => void called.push(one.name()));
        await program.parseAsync(words, { from: 'user' });
        expect(called, call).toEqual([command.name()]);
        for (const text of [call, what])
          expect(readable(pages.get(`${pageName(entry)}.8`) ?? '')).toContain(text);
      }
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
