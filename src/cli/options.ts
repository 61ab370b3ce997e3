// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';

/** Options that mean the same on every command. */
export interface SharedOptions {
  config?: string;
  store?: string;
  policy?: string;
  json?: boolean;
  quiet?: boolean;
}

export type SharedOption = keyof SharedOptions;

const DECLARATIONS: Record<SharedOption, [flags: string, description: string]> = {
  config: ['--config <file>', 'configuration file (default: /etc/pars/pars.yaml)'],
  store: ['--store <url>', 'store to use, e.g. local:/srv/d1,/srv/d2,/srv/d3'],
  policy: ['--policy <name>', 'replicate-all, pars, lean or minimal'],
  json: ['--json', 'print one JSON object'],
  quiet: ['-q, --quiet', 'no progress and no remarks, errors only'],
};

/** Gives `command` the shared options it can use. */
export function addSharedOptions(command: Command, names: readonly SharedOption[]): void {
  for (const name of names) command.option(...DECLARATIONS[name]);
}

/** What a word means as a shared option: how many words after it are its value; null: it is none. */
export function sharedOption(word: string): { values: 0 | 1 } | null {
  for (const [flags] of Object.values(DECLARATIONS)) {
    const [names = '', value] = flags.split(/ (?=<)/);
    const takesValue = value !== undefined;
    if (names.split(', ').includes(word)) return { values: takesValue ? 1 : 0 };
    if (takesValue && word.startsWith(`${names}=`)) return { values: 0 };
  }
  return null;
}
