// SPDX-License-Identifier: Apache-2.0
/**
 * The manual and the shells' completions, made from the same commands that parse the command line and print
 * --help.
 */
import type { Command } from 'commander';
import { Cli } from '../cli/context.js';
import { buildProgram } from './program.js';
import { COMMANDS, GROUPS, type CommandEntry } from './table.js';
import { EXIT_CODES, type ErrorKind } from '../errors.js';
import { EXIT_MEANINGS } from '../ui/exit-codes.js';
import { shellWord } from '../system/shell-word.js';

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

/** "pars-store-init". */
export function pageName({ words }: CommandEntry): string {
  return ['pars', ...words].join('-');
}

/** Every page by its file's name. */
export async function manualPages(version: string): Promise<Map<string, string>> {
  const { program, commands } = await registeredCommands();
  const pages = commands.map((one): [string, string] => [
    `${pageName(one.entry)}.8`,
    commandPage(one, version),
  ]);
  return new Map([['pars.8', mainPage(program, commands, version)], ...pages]);
}

function mainPage(program: Command, commands: readonly Registered[], version: string): string {
  const list = commands.map(({ entry }) => item(`.BR ${pageName(entry)} (8)`, text(entry.summary)));
  return page('pars', version, 'memory snapshots of libvirt guests, safe and cheap', [
    section('SYNOPSIS', '.B pars\n.I command\n[options]'),
    section('DESCRIPTION', text(program.description())),
    section('COMMANDS', list.join('')),
    section(
      'FILES',
      ['/etc/pars/pars.yaml', '/var/lib/pars']
        .map((path, i) =>
          item(`.I ${path}`, ['the configuration', 'what this host knows of its own work'][i] ?? ''),
        )
        .join(''),
    ),
    exitStatus(),
  ]);
}

function commandPage({ entry, command }: Registered, version: string): string {
  const help = command.createHelp();
  const args = help
    .visibleArguments(command)
    .map((argument) =>
      item(`.I ${text(help.argumentTerm(argument))}`, text(help.argumentDescription(argument))),
    );
  const options = help
    .visibleOptions(command)
    .map((option) => item(`.B ${text(help.optionTerm(option))}`, text(help.optionDescription(option))));
  return page(pageName(entry), version, entry.summary, [
    section('SYNOPSIS', `.B pars ${entry.words.join(' ')}\n${text(command.usage())}`),
    section('DESCRIPTION', text(command.description())),
    ...(args.length > 0 ? [section('ARGUMENTS', args.join(''))] : []),
    section('OPTIONS', options.join('')),
    exitStatus(),
    section('SEE ALSO', '.BR pars (8)'),
  ]);
}

function page(name: string, version: string, summary: string, sections: readonly string[]): string {
  return (
    `.TH ${name.toUpperCase()} 8 "" "pars ${version}"\n.SH NAME\n${name} \\- `
    + `${text(summary)}\n${sections.join('')}`
  );
}

function section(title: string, body: string): string {
  return `.SH ${title}\n${body.trimEnd()}\n`;
}

function item(term: string, body: string): string {
  return `.TP\n${term}\n${body}\n`;
}

function exitStatus(): string {
  const rows = Object.entries(EXIT_MEANINGS).map(([kind, meaning]) =>
    item(`.B ${EXIT_CODES[kind as ErrorKind]}`, text(`${kind}: ${meaning}`)),
  );
  return section('EXIT STATUS', [item('.B 0', 'done'), ...rows].join(''));
}

/** Any text as roff: no line of it is a request, and what it holds is printed as it is. */
function text(plain: string): string {
  return plain
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^(['.])/gm, '\\&$1');
}

/** For /usr/share/bash-completion/completions/pars. */
export async function bashCompletion(): Promise<string> {
  const cases = (await words()).map(
    ({ path, choices }) => `    ${shellWord(path)}) choices=${shellWord(choices.join(' '))} ;;`,
  );
  return `# bash completion for pars
_pars() {
  local path=pars word choices= i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    case "$path $word" in ${(await commandPaths()).map(shellWord).join('|')}) path="$path $word" ;; esac
  done
  case "$path" in
${cases.join('\n')}
  esac
  mapfile -t COMPREPLY < <(compgen -W "$choices" -- "\${COMP_WORDS[COMP_CWORD]}"; [[ $path == pars ]] || compgen -f -- "\${COMP_WORDS[COMP_CWORD]}")
}
complete -o filenames -F _pars pars
`;
}

/** For /usr/share/zsh/vendor-completions/_pars. */
export async function zshCompletion(): Promise<string> {
  const cases = (await words()).map(
    ({ path, choices }) => `    ${shellWord(path)}) compadd -- ${choices.map(shellWord).join(' ')} ;;`,
  );
  return `#compdef pars
_pars() {
  local path_=pars word
  for word in \${words[2,CURRENT-1]}; do
    case "$path_ $word" in (${(await commandPaths()).map(shellWord).join('|')}) path_="$path_ $word" ;; esac
  done
  case "$path_" in
${cases.join('\n')}
  esac
  [[ $path_ == pars ]] || _files
}
_pars "$@"
`;
}

async function commandPaths(): Promise<string[]> {
  const { commands } = await registeredCommands();
  return [
    ...Object.keys(GROUPS).map((group) => `pars ${group}`),
    ...commands.map(({ entry }) => `pars ${entry.words.join(' ')}`),
  ];
}

/** What may follow each command: commands after "pars" and its groups, options after the others. */
async function words(): Promise<{ path: string; choices: string[] }[]> {
  const { commands } = await registeredCommands();
  const groups = Object.keys(GROUPS).map((group) => ({
    path: `pars ${group}`,
    choices: commands
      .filter(({ entry }) => entry.words[0] === group && entry.words[1] !== undefined)
      .map(({ entry }) => entry.words[1] ?? ''),
  }));
  const top = [...new Set(commands.map(({ entry }) => entry.words[0] ?? ''))];
  const options = commands.map(({ entry, command }) => ({
    path: `pars ${entry.words.join(' ')}`,
    choices: [...command.options.map(({ long }) => long ?? ''), '--help'],
  }));
  return [{ path: 'pars', choices: [...top, '--help', '--version'] }, ...groups, ...options];
}
