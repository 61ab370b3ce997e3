// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { exitCodeOf, outcomeOf } from '../doctor/check.js';
import { type DoctorPlaces, examine } from '../doctor/doctor.js';
import { renderChecks } from '../ui/doctor.js';
import { formatBytes } from '../ui/units.js';
import { DEFAULT_HOOKS_DIR, DEFAULT_SAVE_DIR } from '../libvirt/paths.js';

type Options = SharedOptions & DoctorPlaces;

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Check whether this host is fit for Pars: configuration, hook, libvirt and QEMU, store (a small '
        + 'object is written, proved and removed), disk space, confinement. Each line is ok, warning or '
        + 'failure, with what to do. A failure sets the exit code by its kind; warnings do not.',
    )
    .option('--hooks-dir <dir>', "libvirt's directory of hooks", DEFAULT_HOOKS_DIR)
    .option('--save-dir <dir>', "libvirt's directory of managed-save images", DEFAULT_SAVE_DIR)
    .option('--qemu-conf <file>', "libvirt's configuration of QEMU", '/etc/libvirt/qemu.conf')
    .action((options: Options) => cli.run(options, (context) => doctor(context, options)));
}

async function doctor(context: Context, places: Options): Promise<number> {
  const checks = await examine(places, {
    config: () => context.config(),
    store: () => context.store(),
    formatBytes,
  });
  context.output.json({ outcome: outcomeOf(checks), checks });
  context.output.text(renderChecks(checks, context.output.colours));
  return exitCodeOf(checks);
}
