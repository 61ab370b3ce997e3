// SPDX-License-Identifier: Apache-2.0
/** Installs the hook, for the commands that do. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { installHook } from '../install/install.js';
import { DEFAULT_PREFIX } from '../install/program-copy.js';
import { neededDirectories, orderUnits } from '../install/unit-order.js';
import { DEFAULT_HOOKS_DIR, DEFAULT_SAVE_DIR } from '../libvirt/paths.js';
import type { Config } from '../policy/config.js';
import { refuseThinStore } from '../snapshot/upload.js';
import type { Store } from '../stores/store.js';
import type { SharedOptions } from './options.js';

export interface HookPlaces {
  prefix: string;
  hooksDir: string;
  saveDir: string;
}

export function addHookPlaces(command: Command): Command {
  return command
    .option('--prefix <dir>', 'where a copy of the program goes', DEFAULT_PREFIX)
    .option('--hooks-dir <dir>', "libvirt's directory of hooks", DEFAULT_HOOKS_DIR)
    .option('--save-dir <dir>', "libvirt's directory of managed-save images", DEFAULT_SAVE_DIR);
}

/** Returns what was changed. */
export async function setUpHook(
  config: Config,
  store: Store,
  options: HookPlaces & SharedOptions,
): Promise<string[]> {
  const { policy, stateDir, watch } = config;
  // A hook without a store that works would only fail later, when nobody looks.
  await refuseThinStore(store, policy);
  const changes = await installHook({
    prefix: options.prefix,
    hooksDir: resolve(options.hooksDir),
    saveDir: resolve(options.saveDir),
    stateDir,
    watch,
    programOptions: passedOn(options),
  });
  // The units are this host's: not those of an installation beside it.
  if (resolve(options.hooksDir) !== DEFAULT_HOOKS_DIR) return changes;
  return [...changes, ...(await orderUnits(neededDirectories(config, resolve(options.saveDir))))];
}

/** Changes as sentences. */
export function asSentences(changes: readonly string[]): string {
  return changes.map((change) => `${change[0]?.toUpperCase() ?? ''}${change.slice(1)}.`).join('\n');
}

/** What was said here must hold for the hook too, from any directory. */
function passedOn({ config, store }: SharedOptions): string[] {
  return [
    ...(config === undefined ? [] : ['--config', resolve(config)]),
    ...(store === undefined ? [] : ['--store', store]),
  ];
}
