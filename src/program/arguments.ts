// SPDX-License-Identifier: Apache-2.0
/** The command line as people type it, brought into the one order that the parser knows. */
import { ParsError } from '../errors.js';
import { sharedOption } from '../cli/options.js';
import { nearest } from '../system/nearest.js';
import { isVersionCall } from '../version.js';
import { COMMANDS, GROUPS } from './table.js';

/** The words of a command first, what was typed before or between them after, "help" as --help. */
export function normalised(argv: readonly string[]): readonly string[] {
  return isVersionCall(argv) ? ['--version'] : withoutHelpWord(wordsFirst(argv));
}

/** "pars --config F status" means what "pars status --config F" does. */
function wordsFirst(argv: readonly string[]): readonly string[] {
  const words: string[] = [];
  const moved: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] ?? '';
    const option = sharedOption(word);
    if (option !== null) {
      moved.push(...argv.slice(i, i + 1 + option.values));
      i += option.values;
    } else if (word.startsWith('-')) break;
    else {
      words.push(word);
      if (!Object.hasOwn(GROUPS, word) && word !== 'help') break;
    }
  }
  return [...words, ...moved, ...argv.slice(words.length + moved.length)];
}

/**
 * "pars help store init" asks what "pars store init --help" does. commander's own answer knows one word, and
 * says nothing to those it does not know.
 */
function withoutHelpWord(argv: readonly string[]): readonly string[] {
  const at = argv.findIndex((word) => !Object.hasOwn(GROUPS, word));
  if (argv[at] !== 'help') return argv;
  const words = argv.filter((word, i) => i !== at && !word.startsWith('-'));
  const name = words.join(' ');
  const known = [...Object.keys(GROUPS), ...COMMANDS.map((entry) => entry.words.join(' '))];
  if (name === '' || name === 'help' || name === 'version') return ['--help'];
  if (known.includes(name)) return [...words, '--help'];
  const meant = nearest(name, known);
  throw new ParsError('usage', `unknown command '${name}'`, {
    hint: meant === null ? 'see: pars --help' : `Did you mean ${meant}?`,
  });
}
