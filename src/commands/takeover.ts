// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { plain } from '../system/plain-text.js';
import { thisHost } from '../system/host.js';
import { settleStarts, takeOver } from '../lifecycle/claims.js';
import { resolveSnapshot } from '../snapshot/snapshots.js';
import { StubRegistry } from '../image/stub-registry.js';

export function register(command: Command, cli: Cli): void {
  command
    .description(
      "Make a snapshot that another host owns or has claimed this host's, so that its guest can be "
        + 'resumed here. Be sure that the guest does not run there: nothing here can see that. The other '
        + 'host needs a takeover of its own to resume it again.',
    )
    .argument('<snapshot>', 'its name, the beginning of it, or the UUID of a guest for its latest')
    .action((snapshot: string, options: SharedOptions) =>
      cli.run(options, (context) => takeover(context, snapshot)),
    );
}

async function takeover(context: Context, typed: string): Promise<void> {
  const store = await context.store();
  const host = thisHost();
  await settleStarts(store, new StubRegistry((await context.config()).stateDir), host);
  const result = await takeOver(store, await resolveSnapshot(store, typed), host);
  context.output.json(result);
  const { machineId, host: name, since } = result.before;
  const held = since === null ? 'stored by' : `held since ${plain(since)} by`;
  context.output.text(
    result.taken
      ? `${result.snapshot} is this host's now; it was ${held} ${plain(name)} (${machineId}).`
      : `${result.snapshot} is this host's already.`,
  );
}
