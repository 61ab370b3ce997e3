// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { parseDuration } from '../policy/config-file.js';
import { deadlineSignal } from '../system/deadline.js';
import { EXIT_CODES, ParsError } from '../errors.js';
import { renderLeft } from '../ui/remaining.js';

import { runQueue } from '../cli/queue-run.js';
import { DEFAULT_SAVE_DIR } from '../libvirt/paths.js';
import { counted } from '../system/counted.js';

interface Options extends SharedOptions {
  deadline: string;
  saveDir: string;
}

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Offload all remaining managed saves before shutdown, the largest first, then list what is left on '
        + 'the local disk. Exits with 8 when anything is, also an image that cannot be read or whose guest '
        + 'opted out. An offload that the deadline interrupts leaves its image untouched.',
    )
    .option('--deadline <duration>', 'stop after this long, e.g. 90s or 5m', '5m')
    .option('--save-dir <dir>', "libvirt's directory of managed-save images", DEFAULT_SAVE_DIR)
    .action((options: Options) => cli.run(options, (context) => drain(context, options)));
}

async function drain(context: Context, options: Options): Promise<number> {
  const ms = parseDuration(options.deadline);
  if (ms === null)
    throw new ParsError('usage', `"${options.deadline}" is not a duration`, {
      hint: 'e.g. --deadline 90s, --deadline 5m',
    });
  const outcome = await runQueue(context, {
    saveDir: options.saveDir,
    policyIsFixed: options.policy !== undefined,
    signal: deadlineSignal(ms, context.signal),
    hurry: true,
  });
  context.output.json(outcome);
  const { offloaded, left } = outcome;
  context.output.text(
    left.length === 0
      ? `Offloaded ${counted(offloaded.length, 'image')}; no managed save is left on this host's disk.`
      : `Offloaded ${counted(offloaded.length, 'image')}. `
          + `These stay on this host's disk only:\n${renderLeft(left)}`,
  );
  return left.length === 0 ? 0 : EXIT_CODES.busy;
}
