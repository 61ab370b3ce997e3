// SPDX-License-Identifier: Apache-2.0
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { uninstallHook } from '../install/install.js';
import { forgetOrder } from '../install/unit-order.js';
import { DEFAULT_PREFIX } from '../install/program-copy.js';
import { DEFAULT_HOOKS_DIR } from '../libvirt/paths.js';

interface Options extends SharedOptions {
  prefix: string;
  hooksDir: string;
  force?: boolean;
}

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Take the hook and the copies of the program away. Refused while this host has stubs, which could '
        + 'not be started any more.',
    )
    .option('--prefix <dir>', 'where the copies of the program are', DEFAULT_PREFIX)
    .option('--hooks-dir <dir>', "libvirt's directory of hooks", DEFAULT_HOOKS_DIR)
    .option('--force', 'although there are stubs: refill each by hand before its start')
    .action((options: Options) => cli.run(options, (context) => uninstall(context, options)));
}

async function uninstall(context: Context, options: Options): Promise<void> {
  const { stateDir } = await context.config();
  const changes = await uninstallHook({
    prefix: options.prefix,
    hooksDir: resolve(options.hooksDir),
    stateDir,
    force: options.force ?? false,
  });
  if (resolve(options.hooksDir) === DEFAULT_HOOKS_DIR) changes.push(...(await forgetOrder()));
  context.output.json({ changes });
  const sentences = changes.map((change) => `${change[0]?.toUpperCase() ?? ''}${change.slice(1)}.`);
  context.output.text(
    sentences.length === 0 ? 'Nothing to do: no hook of pars is installed.' : sentences.join('\n'),
  );
}
