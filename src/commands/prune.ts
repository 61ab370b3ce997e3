// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { plain } from '../system/plain-text.js';
import { renderTable, type Column } from '../ui/table.js';
import { formatBytes, formatDuration } from '../ui/units.js';
import { thisHost } from '../system/host.js';
import { prune, type Pruning, type Removable } from '../lifecycle/prune.js';
import { settleStarts } from '../lifecycle/claims.js';
import { StubRegistry } from '../image/stub-registry.js';
import { isFull } from '../queue/tidy.js';
import { bestEffort } from '../system/best-effort.js';
import { counted } from '../system/counted.js';

interface Options extends SharedOptions {
  yes?: boolean;
  orphans?: boolean;
}

const WHY: Record<Removable['reason'], string> = {
  consumed: 'its guest was started from it',
  discarded: 'its guest was started without it',
  orphan: 'its stub is gone, its guest was not started',
  fragment: 'an upload that nobody finished',
  retention: 'beyond keep_last and max_age',
};

export function register(command: Command, cli: Cli): void {
  command
    .description(
      "Remove this host's snapshots that no guest needs any more: consumed ones after "
        + 'retention.consumed, fragments and those whose guest was started without them after '
        + 'retention.orphan_grace, stored copies beyond retention.keep_last and retention.max_age. A '
        + 'discarded one, whose stub is gone although its guest was not started, holds the only copy of its '
        + 'memory: it is shown, and goes after retention.orphan_grace with --orphans, or when the guest '
        + 'has a later stub. Without --yes it only says what it would do.',
    )
    .option('--yes', 'do it')
    .option('--orphans', 'also discarded ones; to put one back: pars restore SNAPSHOT --as-managed-save')
    .action((options: Options) =>
      cli.run(options, (context) => pruneStore(context, options.yes ?? false, options.orphans ?? false)),
    );
}

async function pruneStore(context: Context, yes: boolean, orphans: boolean): Promise<void> {
  const { retention, stateDir } = await context.config();
  const place = {
    store: await context.store(),
    host: thisHost(),
    registry: new StubRegistry(stateDir),
    retention,
    stateDir,
  };
  const settle = (): Promise<void> => settleStarts(place.store, place.registry, place.host);
  const full = await settle().then(
    () => false,
    (error: unknown) => {
      if (!isFull(error)) throw error;
      context.output.warning(`starts since the last run are not noted in the store yet: ${error.message}`);
      return true;
    },
  );
  const result = await prune(place, { yes, orphans });
  // There may be room for it now.
  if (full && yes) await bestEffort(settle());
  context.output.json({ dryRun: !yes, ...result });
  context.output.text(render(context, result, yes));
}

function render({ output }: Context, { removable, removed, leftovers }: Pruning, yes: boolean): string {
  const due = removable.filter(({ dueInMs }) => dueInMs === 0);
  const bytes = formatBytes(due.reduce((sum, { storedBytes }) => sum + storedBytes, 0));
  const files =
    leftovers === 0
      ? ''
      : ` ${leftovers} leftover files of killed uploads ${yes ? 'are removed' : 'would go'} too.`;
  const sum = yes
    ? `Removed ${counted(removed.length, 'snapshot')}, ${bytes}.${files}`
    : `${counted(due.length, 'snapshot')}, ${bytes}, would be `
      + `removed.${files}${due.length > 0 || leftovers > 0 ? ' To do it: pars prune --yes' : ''}`;
  if (removable.length === 0) return sum;
  const rows = removable.map((found) => [
    found.snapshot,
    plain(found.domain ?? ''),
    WHY[found.reason],
    whenDue(found, yes),
    formatBytes(found.storedBytes),
  ]);
  const columns: Column[] = [
    { heading: 'SNAPSHOT' },
    { heading: 'GUEST' },
    { heading: 'WHY' },
    { heading: 'WHEN' },
    { heading: 'STORED', align: 'right' },
  ];
  return `${renderTable(columns, rows, output.colours)}\n${sum}`;
}

function whenDue({ dueInMs }: Removable, yes: boolean): string {
  if (dueInMs === null) return 'with --orphans';
  if (dueInMs === 0) return yes ? 'removed' : 'now';
  return `in ${formatDuration(dueInMs / 1000)}`;
}
