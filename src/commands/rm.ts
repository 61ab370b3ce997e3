// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { thisHost } from '../system/host.js';
import { forgetLost } from '../image/lost-stubs.js';
import { StubRegistry } from '../image/stub-registry.js';
import { guardRemoval, type RemovalConsent } from '../lifecycle/removal.js';

interface Options extends SharedOptions {
  yes?: boolean;
  force?: boolean;
  owner?: string;
}

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Remove a snapshot from the store: with --yes; without it, say what would be removed. Refused for '
        + "another host's, for one that a stub on this host needs, and for fragments, unless forced.",
    )
    .argument('<snapshot>', 'its name; the beginning is enough')
    .option('--yes', 'remove it')
    .option('--force', 'remove it although a stub needs it, or although it is a fragment')
    .option('--owner <machine-id>', 'with --force: remove the snapshot of that other host')
    .action((snapshot: string, options: Options) =>
      cli.run(options, (context) => remove(context, snapshot, options)),
    );
}

async function remove(context: Context, typed: string, options: Options): Promise<void> {
  const { findSnapshot, removeSnapshot, resolveSnapshot } = await import('../snapshot/snapshots.js');
  const store = await context.store();
  const snapshot = await resolveSnapshot(store, typed);
  const consent: RemovalConsent = {
    force: options.force ?? false,
    ...(options.owner === undefined ? {} : { owner: options.owner }),
  };
  const place = { host: thisHost(), registry: new StubRegistry((await context.config()).stateDir) };
  await guardRemoval(await findSnapshot(store, snapshot), place, consent);
  if (!options.yes) {
    context.output.json({ removed: null, wouldRemove: snapshot });
    context.output.text(`Would remove ${snapshot}. Nothing is removed without --yes.`);
    return;
  }
  await removeSnapshot(store, snapshot);
  await forgetLost(place.registry, snapshot);
  context.output.json({ removed: snapshot });
  context.output.text(`Removed ${snapshot}.`);
}
