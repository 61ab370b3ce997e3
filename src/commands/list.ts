import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { knownHost } from '../host.js';

export function register(command: Command, cli: Cli): void {
  command
    .description('List the snapshots in the store, those of one guest together, oldest first.')
    .argument('[uuid]', 'only those of this guest')
    .action((uuid: string | undefined, options: SharedOptions) => cli.run(options, (context) => list(context, uuid)));
}

async function list(context: Context, uuid: string | undefined): Promise<void> {
  const { output } = context;
  const { listSnapshots } = await import('../snapshots.js');
  const entries = await listSnapshots(await context.store(), uuid?.toLowerCase());
  const { renderSnapshots, snapshotJson } = await import('../faces/snapshots.js');
  const host = knownHost();
  output.json({ snapshots: entries.map((entry) => snapshotJson(entry, host)) });
  output.text(entries.length === 0 ? 'No snapshots.' : renderSnapshots(entries, host, output.colours));
}
