// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { setUpStore } from '../cli/store-setup.js';

interface Options extends SharedOptions {
  allowSameDevice?: boolean;
  force?: boolean;
  replace?: string;
}

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Initialise a store (one-time setup): put a marker into its local directories, or into one in HDFS. '
        + 'A directory without the marker counts as a missing disk, and is never written to. Each local '
        + 'directory has to be the mount point of a disk of its own: one that lies on the file system of /, '
        + 'of its parent or of another one is refused, because its disk may not be mounted.',
    )
    .option('--allow-same-device', 'accept directories on one device: copies on it are lost together')
    .option(
      '--force',
      'accept directories that are not mount points of disks of their own, fewer than the policy keeps '
        + 'copies, and directories that other users own or can write to',
    )
    .option('--replace <dir>', 'put the marker into an empty directory of the store whose disk was replaced')
    .action((options: Options) => cli.run(options, (context) => init(context, options)));
}

async function init(context: Context, options: Options): Promise<void> {
  const url = await context.storeUrl();
  const { result, text, warnings } = await setUpStore({
    url,
    policy: await context.policy(),
    allowSameDevice: options.allowSameDevice ?? false,
    force: options.force ?? false,
    replace: options.replace,
    signal: context.signal,
    note: (text) => context.output.note(text),
  });
  context.output.json({ url, ...result });
  context.output.text(text);
  for (const warning of warnings) context.output.warning(warning);
  if (options.replace !== undefined)
    context.output.note(
      'Snapshots that had a copy there have one copy less now; to make copies again: pars verify --repair',
    );
}
