// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { cancelRefills } from '../queue/cancel.js';
import { plain } from '../system/plain-text.js';

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Cancel the refill of a guest\'s stub, whether "pars wake", "pars hydrate" or the hook of a start runs '
        + 'it. The file is the same stub again, and a start that waited for it fails. A process that does '
        + 'not end its refill within 10 seconds is killed, which leaves the stub as well. An image that is '
        + 'already refilled stays as it is.',
    )
    .argument('<guest>', 'name or UUID')
    .action((guest: string, options: SharedOptions) => cli.run(options, (context) => cancel(context, guest)));
}

async function cancel(context: Context, guest: string): Promise<void> {
  const { output, signal } = context;
  const { stateDir } = await context.config();
  const refills = await cancelRefills({ stateDir, guest, signal });
  output.json({ refills });
  for (const { image, cancelled } of refills)
    output.text(
      cancelled
        ? `The refill of ${plain(image)} is cancelled: it is a stub as before.`
        : `${plain(image)} was refilled before it could be cancelled.`,
    );
}
