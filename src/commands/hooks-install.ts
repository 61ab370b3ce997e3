// SPDX-License-Identifier: Apache-2.0
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { installHook } from '../install/install.js';
import { DEFAULT_PREFIX } from '../install/program-copy.js';
import { refuseThinStore } from '../snapshot/upload.js';
import { DEFAULT_HOOKS_DIR, DEFAULT_SAVE_DIR } from '../libvirt/paths.js';

interface Options extends SharedOptions {
  prefix: string;
  hooksDir: string;
  saveDir: string;
}

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Let libvirt call pars: after "virsh managedsave" the image is offloaded in the background, '
        + 'before a start its stub is refilled. Run it again after an update of pars.',
    )
    .option('--prefix <dir>', 'where a copy of the program goes', DEFAULT_PREFIX)
    .option('--hooks-dir <dir>', "libvirt's directory of hooks", DEFAULT_HOOKS_DIR)
    .option('--save-dir <dir>', "libvirt's directory of managed-save images", DEFAULT_SAVE_DIR)
    .action((options: Options) => cli.run(options, (context) => install(context, options)));
}

async function install(context: Context, options: Options): Promise<void> {
  const { policy, stateDir, watch } = await context.config();
  // A hook without a store that works would only fail later, when nobody looks.
  await refuseThinStore(await context.store(), policy);
  const changes = await installHook({
    prefix: options.prefix,
    hooksDir: resolve(options.hooksDir),
    saveDir: resolve(options.saveDir),
    stateDir,
    watch,
    programOptions: passedOn(options),
  });
  context.output.json({ changes });
  context.output.text(
    changes.map((change) => `${change[0]?.toUpperCase() ?? ''}${change.slice(1)}.`).join('\n'),
  );
}

/** What was said here must hold for the hook too, from any directory. */
function passedOn({ config, store }: SharedOptions): string[] {
  return [
    ...(config === undefined ? [] : ['--config', resolve(config)]),
    ...(store === undefined ? [] : ['--store', store]),
  ];
}
