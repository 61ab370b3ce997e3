// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { EXIT_CODES, ParsError } from '../errors.js';
import { renderPlan } from '../ui/plan.js';

import { makePlan, type Place, type StorePlace, planGuests } from '../report/plan.js';
import { runningDomains } from '../libvirt/domains.js';
import { ifThere } from '../system/absence.js';
import { freeBytes } from '../system/disk-space.js';
import { DEFAULT_SAVE_DIR } from '../libvirt/paths.js';

interface Options extends SharedOptions {
  saveDir: string;
}

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Say whether saves of running guests would fit: on the local disk at their peak (libvirt writes the '
        + "whole image first), and in the store under each policy. Reads the guests' memory in place and "
        + 'stops nothing. Exits with 7 when something does not fit, so that it can gate a maintenance '
        + 'script.',
    )
    .argument('[domain...]', 'names or UUIDs of running domains (default: all that run)')
    .option('--save-dir <dir>', "libvirt's directory of managed-save images", DEFAULT_SAVE_DIR)
    .action((domains: string[], options: Options) =>
      cli.run(options, (context) => plan(context, domains, options)),
    );
}

async function plan(context: Context, named: readonly string[], { saveDir }: Options): Promise<number> {
  const policy = await context.policy();
  const domains = named.length > 0 ? named : await runningDomains();
  const progress = domains.length > 1 ? await context.progress() : () => {};
  const guests = await planGuests(domains, policy, {
    signal: context.signal,
    onGuest: (done) => progress({ phase: 'reading', done, total: domains.length, unit: 'images' }),
  });
  const made = makePlan(guests, policy.name, await saveRoom(saveDir), await storeRoom(context));
  context.output.json(made);
  context.output.text(renderPlan(made, context.output.colours));
  return made.fits.save && made.fits.store !== false ? 0 : EXIT_CODES['no-space'];
}

async function saveRoom(saveDir: string): Promise<Place> {
  const free = await ifThere(saveDir, freeBytes, null);
  if (free === null)
    throw new ParsError('missing', `there is no ${saveDir}`, {
      hint: 'name the directory of managed saves with --save-dir',
    });
  return { where: saveDir, freeBytes: free };
}

async function storeRoom(context: Context): Promise<StorePlace | null> {
  if ((await context.config()).store === null) return null;
  const { url, freeBytes } = await (await context.store()).status();
  return { where: url, freeBytes };
}
