// SPDX-License-Identifier: Apache-2.0
import { type Command, InvalidArgumentError } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { EXIT_CODES, ParsError } from '../errors.js';
import { knownHost, thisHost } from '../system/host.js';
import type { Manifest } from '../snapshot/manifest.js';
import { StubRegistry } from '../image/stub-registry.js';
import type { Verification } from '../health/verify.js';

interface Options extends SharedOptions {
  percent: number;
  repair?: boolean;
  disks?: boolean;
}

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Read what the store holds of a snapshot, or of all, and list what is missing, corrupt or '
        + 'under-replicated. Exits with 0 when nothing is wrong, 9 when critical data is lost, 5 when '
        + 'copies are corrupt, 4 when copies are missing, 6 when locations cannot be reached.',
    )
    .argument(
      '[snapshot]',
      'its name, the beginning of it, or the UUID of a guest for its latest; all when left out',
    )
    .option('--percent <n>', 'read only this share of the data, and check that the rest exists', percent, 100)
    .option('--disks', "also read what snapshots leave to the guests' own disks, on this host")
    .option('--repair', 'make copies again from good ones, and give up expendable pages that are in no copy')
    .action((snapshot: string | undefined, options: Options) =>
      cli.run(options, (context) => verify(context, snapshot, options)),
    );
}

async function verify(context: Context, typed: string | undefined, options: Options): Promise<number> {
  const { findSnapshot, listSnapshots, resolveSnapshot } = await import('../snapshot/snapshots.js');
  const { verifySnapshot, worstFault, worstOf } = await import('../health/verify.js');
  const store = await context.store();
  const entries =
    typed === undefined
      ? await listSnapshots(store)
      : [await findSnapshot(store, await resolveSnapshot(store, typed))];
  if (typed !== undefined && entries[0]?.condition === 'incomplete')
    throw new ParsError(
      'missing',
      `${entries[0].snapshot} has no manifest: it is what is left of a snapshot, not a snapshot`,
    );
  const found: Verification[] = [];
  const onProgress = await context.progress();
  const storeAgain = await storingAgain(context);
  for (const entry of entries) {
    const verification = await verifySnapshot(store, entry, {
      percent: options.percent,
      repair: options.repair ?? false,
      disks: options.disks ?? false,
      host: knownHost(),
      signal: context.signal,
      onProgress,
      storeAgain,
    });
    if (verification) found.push(verification);
    else if (typed !== undefined)
      throw new ParsError('missing', `${entry.snapshot} was removed while it was verified`);
  }
  await show(context, found, typed);
  const worst = worstOf(found.map(worstFault));
  return worst === null ? 0 : EXIT_CODES[worst];
}

/** Offloading is loaded only when a snapshot turns out to need it. */
async function storingAgain(context: Context): Promise<(manifest: Manifest) => Promise<string | null>> {
  const { stateDir } = await context.config();
  return async (manifest) => {
    const { storeAgain } = await import('../lifecycle/store-again.js');
    return storeAgain(
      manifest,
      { store: await context.store(), host: thisHost(), registry: new StubRegistry(stateDir) },
      context.signal,
    );
  };
}

async function show(
  { output }: Context,
  found: readonly Verification[],
  typed: string | undefined,
): Promise<void> {
  const { renderVerification, verificationJson } = await import('../ui/verification.js');
  const { verifySummary } = await import('../ui/verify-summary.js');
  output.json({ snapshots: found.map(verificationJson) });
  if (found.length === 0) return output.text('No snapshots.');
  for (const verification of found) output.text(renderVerification(verification, output.colours));
  output.text(verifySummary(found, `pars verify --repair${typed === undefined ? '' : ` ${typed}`}`));
}

function percent(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 100))
    throw new InvalidArgumentError('expected a number from 0 to 100.');
  return value;
}
