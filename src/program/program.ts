// SPDX-License-Identifier: Apache-2.0
/** Builds the command line from the table, loading only the command that is called. */
import { Command, CommanderError } from 'commander';
import { ParsError } from '../errors.js';
import { exitCodeTable } from '../ui/exit-codes.js';
import { Output } from '../ui/output.js';
import { versionLine } from '../version.js';
import { Cli } from '../cli/context.js';
import { exitCodeOf, printError } from '../cli/failure.js';
import { addSharedOptions } from '../cli/options.js';
import { normalised } from './arguments.js';
import { exampleText } from './examples.js';
import { COMMANDS, GROUPS, type CommandEntry } from './table.js';

/** Runs the command line and returns the exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  const cli = new Cli();
  try {
    const call = normalised(argv);
    const program = await buildProgram(call, cli);
    await program.parseAsync(call, { from: 'user' });
    return cli.exitCode;
  } catch (error) {
    if (isHelp(error)) return 0;
    const failure = error instanceof CommanderError ? usageError(error) : error;
    printError(failure, new Output({ json: argv.includes('--json') }));
    return exitCodeOf(failure);
  }
}

/**
 * The program: the command that `argv` calls, or else all of them by name and summary, for the help and for
 * what was meant by a mistyped word.
 */
export async function buildProgram(argv: readonly string[], cli: Cli): Promise<Command> {
  const program = new Command('pars')
    .description(
      'Keeps memory snapshots of libvirt guests safe and cheap: stores each class of pages as often as '
        + 'it deserves.',
    )
    .version(versionLine(), '-v, --version')
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .showSuggestionAfterError(true)
    .addHelpText('after', `\n${exitCodeTable()}`);
  const words = calledWords(argv);
  const called = COMMANDS.find((entry) => isCalled(entry, words));
  const groups = addGroups(program);
  for (const entry of called === undefined ? COMMANDS : [called])
    await addCommand(groups.get(entry.words.slice(0, -1).join(' ')) ?? program, entry, words, cli);
  return program;
}

function addGroups(program: Command): Map<string, Command> {
  return new Map(
    Object.entries(GROUPS).map(([name, summary]) => [name, program.command(name).description(summary)]),
  );
}

function isCalled({ words }: CommandEntry, typed: readonly string[]): boolean {
  return words.every((word, i) => typed[i] === word);
}

async function addCommand(
  parent: Command,
  entry: CommandEntry,
  words: readonly string[],
  cli: Cli,
): Promise<void> {
  const command = parent
    .command(entry.words.at(-1) ?? '', { hidden: entry.hidden ?? false })
    .summary(entry.summary)
    .description(entry.summary);
  if (!isCalled(entry, words)) return;
  addSharedOptions(command, entry.shared);
  command.addHelpText('after', () => exampleText(entry.words));
  (await entry.load()).register(command, cli);
}

function calledWords(argv: readonly string[]): string[] {
  return argv.filter((word) => !word.startsWith('-'));
}

function isHelp(error: unknown): boolean {
  return error instanceof CommanderError && error.exitCode === 0;
}

/**
 * commander says "error: unknown option '--x'\n(Did you mean --y?)". Bare "pars" has shown its help by then.
 */
function usageError(error: CommanderError): ParsError {
  if (error.code === 'commander.help')
    return new ParsError('usage', 'no command given', { hint: 'see: pars --help' });
  const [message = '', suggestion] = error.message.replace(/^error: /, '').split('\n');
  return new ParsError('usage', message, { hint: suggestion?.replace(/[()]/g, '') ?? 'see: pars --help' });
}
