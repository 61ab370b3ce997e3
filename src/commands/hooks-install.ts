// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import { addHookPlaces, asSentences, type HookPlaces, setUpHook } from '../cli/hook-setup.js';
import type { SharedOptions } from '../cli/options.js';

type Options = SharedOptions & HookPlaces;

export function register(command: Command, cli: Cli): void {
  addHookPlaces(
    command.description(
      'Install the hook by which libvirt calls pars: after "virsh managedsave" the image is offloaded in '
        + 'the background, and before a start its stub is refilled. Run it again after an update of pars.',
    ),
  ).action((options: Options) => cli.run(options, (context) => install(context, options)));
}

async function install(context: Context, options: Options): Promise<void> {
  const changes = await setUpHook(await context.config(), await context.store(), options);
  context.output.json({ changes });
  context.output.text(asSentences(changes));
}
