import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import { exitCodeOf, printError } from '../cli/failure.js';
import type { SharedOptions } from '../cli/options.js';
import { plain } from '../faces/plain.js';
import { formatBytes, formatCount } from '../faces/units.js';
import { thisHost } from '../host.js';
import { hydrate, type Hydrated } from '../life/hydrate.js';
import { ImageFile } from '../image/image-file.js';
import { publishMetrics } from './metrics.js';
import { asJob } from '../queue/jobs.js';
import { noteRefill } from '../life/note-refill.js';
import { StubRegistry } from '../image/stub-registry.js';

interface Options extends SharedOptions {
  force?: boolean;
  acceptChangedDisks?: boolean;
}

const LOCK_WAIT_MS = 10_000;

export function register(command: Command, cli: Cli): void {
  command
    .description('Turn stubs back into images, in place. Killed at any instant, the file is still a stub. Does nothing to a whole image.')
    .argument('<image...>', 'stubs')
    .option('--force', 'although the guest was started since, or another host has woken it')
    .option('--accept-changed-disks', "although the guest's disks were written since")
    .action((images: string[], options: Options) => cli.run(options, (context) => hydrateAll(context, images, options)));
}

async function hydrateAll(context: Context, images: string[], options: Options): Promise<number> {
  let exitCode = 0;
  try {
    for (const image of images) exitCode = (await hydrateOne(context, image, options, images.length > 1)) || exitCode;
  } finally {
    await publishMetrics(context);
  }
  return exitCode;
}

async function hydrateOne(context: Context, path: string, options: Options, oneOfMany: boolean): Promise<number> {
  try {
    const { stateDir } = await context.config();
    const began = Date.now();
    const result = await asJob(stateDir, 'hydrate', resolve(path), async (job) => {
      const done = await hydratePath(context, resolve(path), options, stateDir);
      await noteRefill(stateDir, job, done, began);
      return done;
    });
    report(context, result);
    return 0;
  } catch (error) {
    if (!oneOfMany || context.signal.aborted) throw error;
    printError(error, context.output);
    return exitCodeOf(error);
  }
}

async function hydratePath(context: Context, path: string, options: Options, stateDir: string): Promise<Hydrated> {
  const host = thisHost();
  const registry = new StubRegistry(stateDir);
  const image = await ImageFile.open(path);
  try {
    return await hydrate(image, { store: () => context.store(), host, registry }, {
      force: options.force ?? false, acceptChangedDisks: options.acceptChangedDisks ?? false, lockWaitMs: LOCK_WAIT_MS,
      signal: context.signal, onProgress: await context.progress(),
    });
  } finally {
    await image.close();
  }
}

function report({ output }: Context, { image, hydrated, manifest, bytes, losses }: Hydrated): void {
  output.json({ image, hydrated, snapshot: manifest?.snapshot ?? null, bytes, pagesLostByPolicy: losses.byPolicy, pagesLostUnexpectedly: losses.unexpected, pagesRecovered: losses.recovered });
  if (!hydrated) return output.text(`${plain(image)} is whole: nothing to do.`);
  output.text(`${plain(image)} is an image again, ${formatBytes(bytes)}, from ${manifest?.snapshot ?? ''}.`);
  if (losses.byPolicy > 0) output.text(`${formatCount(losses.byPolicy)} expendable pages were not stored; the guest reads what it needs of them from its disks.`);
  if (losses.unexpected > 0) output.warning(`${formatCount(losses.unexpected)} expendable pages could not be had from any copy and were recovered; the guest does without them, but look at the store: pars verify`);
}
