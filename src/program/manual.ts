// SPDX-License-Identifier: Apache-2.0
/** The manual, made from the same commands that parse the command line and print --help. */
import type { Command } from 'commander';
import { examplesOf } from './examples.js';
import { type Registered, registeredCommands } from './registered.js';
import { GROUPS, type CommandEntry } from './table.js';
import { EXIT_CODES, type ErrorKind } from '../errors.js';
import { EXIT_MEANINGS } from '../ui/exit-codes.js';

const HOW_TO_READ =
  'Each command has a page of its own: "man pars-offload", "man pars-store-init". man joins two words, so '
  + '"man pars offload" and "man pars store" do as well; for a command of two words type the hyphens.';

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
  const groups = Object.entries(GROUPS).map(([group, summary]): [string, string] => [
    `pars-${group}.8`,
    groupPage(group, summary, commands, version),
  ]);
  return new Map([['pars.8', mainPage(program, commands, version)], ...groups, ...pages]);
}

/** "man pars store" looks for this one: man joins two words, and no more. */
function groupPage(group: string, summary: string, commands: readonly Registered[], version: string): string {
  const members = commands.filter(({ entry }) => entry.words.length > 1 && entry.words[0] === group);
  return page(`pars-${group}`, version, summary, [
    section('SYNOPSIS', `.B pars ${group}\n.I command\n[options]`),
    section('COMMANDS', pageList(members)),
    ...members.map(({ entry, command }) =>
      section(
        (entry.words[1] ?? '').toUpperCase(),
        `.B pars ${entry.words.join(' ')}\n${text(command.usage())}\n.PP\n${text(command.description())}`,
      ),
    ),
    section('SEE ALSO', seeAlso(members)),
  ]);
}

/** Whoever types three words gets this page, and has to be told. */
function seeAlso(members: readonly Registered[]): string {
  const names = members.map(({ entry }) => pageName(entry));
  const asked = members[0]?.entry.words.join(' ') ?? '';
  return [
    ...names.map((name) => `.BR ${name} (8),`),
    '.BR pars (8)',
    '.PP',
    text(
      `man joins no more than two words, so "man pars ${asked}" opens this page; for all options of a `
        + `command type its name with hyphens: ${names.map((name) => `"man ${name}"`).join(', ')}.`,
    ),
  ].join('\n');
}

function pageList(commands: readonly Registered[]): string {
  return commands.map(({ entry }) => item(`.BR ${pageName(entry)} (8)`, text(entry.summary))).join('');
}

function mainPage(program: Command, commands: readonly Registered[], version: string): string {
  return page('pars', version, 'memory snapshots of libvirt guests, safe and cheap', [
    section('SYNOPSIS', '.B pars\n.I command\n[options]'),
    section('DESCRIPTION', `${text(program.description())}\n.PP\n${text(HOW_TO_READ)}`),
    section('COMMANDS', pageList(commands)),
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
    exampleSection(entry),
    exitStatus(),
    section('SEE ALSO', '.BR pars (8)'),
  ]);
}

function exampleSection({ words }: CommandEntry): string {
  const items = examplesOf(words).map(({ call, what }) =>
    what === '' ? `.PP\n.B ${text(call)}\n` : item(`.B ${text(call)}`, text(what)),
  );
  return section('EXAMPLES', items.join(''));
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
