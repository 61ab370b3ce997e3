import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { knownHost, type Host } from '../host.js';
import type { SnapshotEntry } from '../snapshot/snapshots.js';
import { StubRegistry } from '../image/stub-registry.js';

export function register(command: Command, cli: Cli): void {
  command
    .description('List the snapshots in the store, those of one guest together, oldest first.')
    .argument('[uuid]', 'only those of this guest')
    .action((uuid: string | undefined, options: SharedOptions) => cli.run(options, (context) => list(context, uuid)));
}

async function list(context: Context, uuid: string | undefined): Promise<void> {
  const { output } = context;
  const { listSnapshots } = await import('../snapshot/snapshots.js');
  const entries = await listSnapshots(await context.store(), uuid?.toLowerCase());
  const { renderSnapshots, snapshotJson } = await import('../faces/snapshots.js');
  const host = knownHost();
  const orphans = await orphansAmong(entries, host, (await context.config()).stateDir);
  output.json({ snapshots: entries.map((entry) => ({ ...snapshotJson(entry, host), orphan: orphans.has(entry.snapshot) })) });
  output.text(entries.length === 0 ? 'No snapshots.' : renderSnapshots(entries, host, output.colours, orphans));
}

/** Those of this host whose stub is gone (R28). */
async function orphansAmong(entries: readonly SnapshotEntry[], host: Host | null, stateDir: string): Promise<Set<string>> {
  const { isOrphaned } = await import('../life/prune.js');
  const registry = new StubRegistry(stateDir);
  const orphaned = await Promise.all(entries.map((entry) => isOrphaned(entry, host, { registry })));
  return new Set(entries.filter((_, i) => orphaned[i]).map(({ snapshot }) => snapshot));
}
