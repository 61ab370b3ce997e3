// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import { askForStore } from '../cli/ask-store.js';
import { addHookPlaces, asSentences, type HookPlaces, setUpHook } from '../cli/hook-setup.js';
import type { SharedOptions } from '../cli/options.js';
import { setUpStore } from '../cli/store-setup.js';
import { exitCodeOf, outcomeOf } from '../doctor/check.js';
import { examine } from '../doctor/doctor.js';
import { ParsError } from '../errors.js';
import { configurationText, type Wanted, writeConfiguration } from '../install/configuration.js';
import { hookPath } from '../install/install.js';
import { enableTimer } from '../install/timer.js';
import { DEFAULT_CONFIG_FILE, loadConfig } from '../policy/config.js';
import { DEFAULT_PRESET, isPreset, policyByName, PRESETS } from '../policy/policy.js';
import { openStore } from '../stores/open.js';
import { ask, canAsk } from '../ui/ask.js';
import { renderChecks } from '../ui/doctor.js';
import { formatBytes } from '../ui/units.js';

interface Options extends SharedOptions, HookPlaces {
  allowSameDevice?: boolean;
  force?: boolean;
  timer: boolean;
  qemuConf: string;
}

const EXAMPLE = 'pars init --store local:/srv/d1,/srv/d2,/srv/d3 --policy lean';

export function register(command: Command, cli: Cli): void {
  addHookPlaces(
    command
      .description(
        'Set this host up: write the configuration, initialise the store, install the libvirt hook, enable '
          + 'the timer, and check all of it as "pars doctor" does. What is not given is asked for on a '
          + 'terminal. Nothing that is there is overwritten: a configuration is only completed, a store '
          + "that is set up already is used, another program's hook is left alone. Run again, it does what "
          + 'is missing.',
      )
      .option('--allow-same-device', 'accept directories on one device: copies on it are lost together')
      .option(
        '--force',
        'accept directories that are not mount points of disks of their own, and fewer than the policy '
          + 'keeps copies',
      )
      .option('--no-timer', 'do not enable pars-offload.timer'),
  )
    .option('--qemu-conf <file>', "libvirt's configuration of QEMU", '/etc/libvirt/qemu.conf')
    .action((options: Options) => cli.run(options, (context) => init(context, options)));
}

async function init(context: Context, options: Options): Promise<number> {
  const { output, signal } = context;
  const file = options.config ?? DEFAULT_CONFIG_FILE;
  const wanted = await wish(options, file, signal);
  // Whatever would stop the later steps stops this before anything is changed.
  await configurationText(file, wanted);
  await hookPath(options.hooksDir);
  const policy = wanted.policy === undefined ? (await configIn(file)).policy : policyByName(wanted.policy);
  const { allowSameDevice = false, force = false } = options;
  const note = (text: string): void => output.note(text);
  const store = await setUpStore({ url: wanted.store, policy, allowSameDevice, force, signal, note });
  output.text(store.text);
  for (const warning of store.warnings) output.warning(warning);
  const changes = await changeHost(file, wanted, options);
  output.text(`${asSentences(changes)}\n`);
  return check(context, options, file, changes);
}

/** The store is marked by now: configuration, hook and timer. */
async function changeHost(file: string, wanted: Wanted, options: Options): Promise<string[]> {
  const changes: string[] = [];
  if (await writeConfiguration(file, wanted)) changes.push(`wrote ${file}`);
  const opened = await openStore(wanted.store);
  try {
    const { config, prefix, hooksDir, saveDir } = options;
    const named = config === undefined ? {} : { config };
    changes.push(...(await setUpHook(await configIn(file), opened, { prefix, hooksDir, saveDir, ...named })));
  } finally {
    await opened.close();
  }
  if (options.timer) changes.push(...(await enableTimer()));
  return changes;
}

/** What doctor says, and its exit code. */
async function check({ output }: Context, places: Options, file: string, changes: string[]): Promise<number> {
  const config = await configIn(file);
  const opened = openStore(config.store ?? '');
  const checks = await examine(places, { config: async () => config, store: () => opened, formatBytes });
  await (await opened).close();
  const outcome = outcomeOf(checks);
  output.json({ config: file, changes, outcome, checks });
  output.text(renderChecks(checks, output.colours));
  if (outcome !== 'failure')
    output.note(
      'From now on each managed save is offloaded, and its stub is refilled when the guest is started.',
    );
  return exitCodeOf(checks);
}

/** Of the file alone, for that is what the hook will read. */
function configIn(file: string): ReturnType<typeof loadConfig> {
  return file === DEFAULT_CONFIG_FILE ? loadConfig() : loadConfig({}, file);
}

/** From the options, else from the file, else from whoever sits at the terminal. */
async function wish(options: Options, file: string, signal: AbortSignal): Promise<Wanted> {
  if (options.policy !== undefined) policyByName(options.policy);
  const store = options.store ?? (await configIn(file)).store;
  if (store !== null) return { store, policy: options.policy };
  if (!canAsk() || options.json)
    throw new ParsError('usage', 'which store is this host to use?', { hint: `e.g. ${EXAMPLE}` });
  const asked = await askForStore(signal);
  return { store: asked, policy: options.policy ?? (await askForPolicy(signal)) };
}

function askForPolicy(signal: AbortSignal): Promise<string> {
  process.stderr.write(
    'Copies of critical pages, of clean file cache, of free pages: replicate-all 3 3 3, pars 3 1 1,\n'
      + 'lean 3 1 0, minimal 3 0 0\n',
  );
  const refuse = (name: string): string | null => (isPreset(name) ? null : `one of ${PRESETS.join(', ')}`);
  return ask({ text: 'Policy', preset: DEFAULT_PRESET, refuse }, signal);
}
