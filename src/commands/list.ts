// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { ParsError } from '../errors.js';
import { knownHost, type Host } from '../system/host.js';
import { isUuid } from '../system/uuid.js';
import type { Discarded } from '../lifecycle/prune.js';
import type { SnapshotEntry } from '../snapshot/snapshots.js';
import type { Store } from '../stores/store.js';
import { StubRegistry } from '../image/stub-registry.js';

export function register(command: Command, cli: Cli): void {
  command
    .description('List the snapshots in the store, those of one guest together, oldest first.')
    .argument('[beginning]', 'only those whose name begins so: the UUID of a guest, or the beginning of it')
    .action((beginning: string | undefined, options: SharedOptions) =>
      cli.run(options, (context) => list(context, beginning)),
    );
}

async function list(context: Context, beginning = ''): Promise<void> {
  const { output } = context;
  const entries = await entriesOf(await context.store(), beginning);
  const { renderSnapshots, snapshotJson } = await import('../ui/snapshots.js');
  const host = knownHost();
  const discarded = await discardedAmong(entries, host, (await context.config()).stateDir);
  output.json({
    snapshots: entries.map((entry) => ({
      ...snapshotJson(entry, host),
      orphan: discarded.has(entry.snapshot) && !('discarded' in entry),
      discarded: discarded.has(entry.snapshot),
      diskMovedOn: discarded.get(entry.snapshot)?.diskMovedOn ?? null,
    })),
  });
  output.text(
    entries.length === 0 ? 'No snapshots.' : renderSnapshots(entries, host, output.colours, discarded),
  );
}

/**
 * A guest's are found without a look at all others. None at all is an answer, none of those asked for is not.
 */
async function entriesOf(store: Store, typed: string): Promise<SnapshotEntry[]> {
  const { listSnapshots } = await import('../snapshot/snapshots.js');
  const beginning = typed.toLowerCase();
  const entries = (await listSnapshots(store, isUuid(beginning) ? beginning : undefined)).filter(
    ({ snapshot }) => snapshot.toLowerCase().startsWith(beginning),
  );
  if (typed === '' || entries.length > 0) return entries;
  throw new ParsError('missing', `there is no snapshot whose name begins with "${typed}"`, {
    hint: 'names begin with the UUID of the guest (virsh domuuid NAME); to see all: pars list',
  });
}

/** Those of this host whose stub is gone (R28). */
async function discardedAmong(
  entries: readonly SnapshotEntry[],
  host: Host | null,
  stateDir: string,
): Promise<Map<string, Discarded>> {
  const { discardedState } = await import('../lifecycle/prune.js');
  const registry = new StubRegistry(stateDir);
  const states = await Promise.all(entries.map((entry) => discardedState(entry, host, { registry })));
  return new Map(entries.flatMap(({ snapshot }, i) => (states[i] ? [[snapshot, states[i]]] : [])));
}
