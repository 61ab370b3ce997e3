// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { knownHost } from '../system/host.js';

export function register(command: Command, cli: Cli): void {
  command
    .description('Show one snapshot: guest, image, owner, and what is stored of each class of pages.')
    .argument('<snapshot>', "its name, or a guest's UUID for the latest; the beginning is enough")
    .action((snapshot: string, options: SharedOptions) =>
      cli.run(options, (context) => show(context, snapshot)),
    );
}

async function show(context: Context, typed: string): Promise<void> {
  const { output } = context;
  const { findSnapshot, resolveSnapshot } = await import('../snapshot/snapshots.js');
  const store = await context.store();
  const entry = await findSnapshot(store, await resolveSnapshot(store, typed));
  if (entry.condition === 'unreadable') throw entry.error;
  const { renderSnapshot, snapshotJson } = await import('../ui/snapshots.js');
  const host = knownHost();
  output.json({
    ...snapshotJson(entry, host),
    manifest: entry.condition === 'whole' ? entry.manifest : null,
  });
  output.text(renderSnapshot(entry, host, output.colours));
}
