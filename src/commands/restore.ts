import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { plain } from '../faces/plain.js';
import { formatBytes, formatCount } from '../faces/units.js';
import { thisHost } from '../host.js';
import { restore } from '../restore.js';
import { settleStarts } from '../snapshot-life.js';
import { resolveSnapshot } from '../snapshots.js';
import { StubRegistry } from '../stub-registry.js';

interface Options extends SharedOptions {
  to: string;
  force?: boolean;
}

export function register(command: Command, cli: Cli): void {
  command
    .description('Write the image of a snapshot to a new file, whole or not at all. If every class was stored, it is the original byte for byte.')
    .argument('<snapshot>', 'its name, the beginning of it, or the UUID of a guest for its latest')
    .requiredOption('--to <file>', 'the file to write')
    .option('--force', 'write over a file that is there, and although the guest was started since')
    .action((snapshot: string, options: Options) => cli.run(options, (context) => restoreOne(context, snapshot, options)));
}

async function restoreOne(context: Context, typed: string, options: Options): Promise<void> {
  const store = await context.store();
  await settleStarts(store, new StubRegistry((await context.config()).stateDir), thisHost());
  const snapshot = await resolveSnapshot(store, typed);
  const { image, bytes, losses } = await restore(store, snapshot, options.to, {
    force: options.force ?? false, signal: context.signal, onProgress: await context.progress(),
  });
  const { output } = context;
  output.json({ snapshot, image, bytes, pagesLostByPolicy: losses.byPolicy, pagesLostUnexpectedly: losses.unexpected });
  output.text(`Wrote ${plain(image)}, ${formatBytes(bytes)}, from ${snapshot}.`);
  const lost = losses.byPolicy + losses.unexpected;
  if (lost > 0) output.text(`${formatCount(lost)} expendable pages are not in it; the guest reads what it needs of them from its disks.`);
}
