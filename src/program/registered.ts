// SPDX-License-Identifier: Apache-2.0
/** Every command with all that it registers, for those who write about them: manual and completions. */
import type { Command } from 'commander';
import { Cli } from '../cli/context.js';
import { buildProgram } from './program.js';
import { COMMANDS, type CommandEntry } from './table.js';

/** One command as it is registered: with its arguments and options. */
export interface Registered {
  entry: CommandEntry;
  command: Command;
}

/** The program, and every command that people call, loaded. */
export async function registeredCommands(): Promise<{ program: Command; commands: Registered[] }> {
  const commands: Registered[] = [];
  for (const entry of COMMANDS.filter(({ hidden }) => !hidden))
    commands.push({ entry, command: find(await buildProgram(entry.words, new Cli()), entry.words) });
  return { program: await buildProgram([], new Cli()), commands };
}

function find(program: Command, words: readonly string[]): Command {
  const command = words.reduce<Command | undefined>(
    (parent, word) => parent?.commands.find((child) => child.name() === word),
    program,
  );
  if (command === undefined) throw new Error(`no command ${words.join(' ')}`);
  return command;
}
