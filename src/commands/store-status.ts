// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { EXIT_CODES } from '../errors.js';
import { plain } from '../system/plain-text.js';
import { formatBytes } from '../ui/units.js';

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Check the store: which of its locations can be used now, how much space is free, and warnings. '
        + 'Fails with "unreachable" when a location is missing.',
    )
    .action((options: SharedOptions) => cli.run(options, status));
}

async function status(context: Context): Promise<number> {
  const { output } = context;
  const found = await (await context.store()).status();
  output.json(found);
  if (!output.isJson) {
    const { renderPairs } = await import('../ui/table.js');
    const pairs = [
      ['store', plain(found.url)],
      ['id', found.storeId],
      ['places', `${found.usablePlaces} of ${found.places} usable`],
      [
        'room',
        found.freeBytes === null ? 'not known' : `${formatBytes(found.freeBytes)} free, all places together`,
      ],
    ] as const;
    output.text(renderPairs(pairs, output.colours));
    for (const fact of found.facts ?? []) output.note(plain(fact));
    for (const warning of found.warnings) output.warning(plain(warning));
  }
  return found.usablePlaces < found.places ? EXIT_CODES.unreachable : 0;
}
