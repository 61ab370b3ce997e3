// SPDX-License-Identifier: Apache-2.0
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import { type Answer, eachImage } from '../cli/each-image.js';
import { refuseNoImage } from '../cli/named-image.js';
import type { SharedOptions } from '../cli/options.js';
import type { Output } from '../ui/output.js';
import { plain } from '../system/plain-text.js';
import { formatBytes, formatCount } from '../ui/units.js';
import { thisHost } from '../system/host.js';
import { hydrate, type Hydrated } from '../lifecycle/hydrate.js';
import { ImageFile } from '../image/image-file.js';
import { publishMetrics } from '../cli/metrics-file.js';
import { asJob } from '../journal/jobs.js';
import { noteRefill } from '../queue/note-refill.js';
import { StubRegistry } from '../image/stub-registry.js';

interface Options extends SharedOptions {
  force?: boolean;
  acceptChangedDisks?: boolean;
}

const LOCK_WAIT_MS = 10_000;

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Turn stubs back into images, in place. Killed at any instant, the file is still a stub. Does '
        + 'nothing to a whole image. With --json, one object for one image, and {"images": [...]} for '
        + 'several.',
    )
    .argument('<image...>', 'stubs')
    .option('--force', 'even though the guest was started since, or another host has resumed it')
    .option('--accept-changed-disks', "even though the guest's disks were written since")
    .action((images: string[], options: Options) =>
      cli.run(options, (context) => hydrateAll(context, images, options)),
    );
}

async function hydrateAll(context: Context, images: string[], options: Options): Promise<number> {
  const { stateDir } = await context.config();
  try {
    return await eachImage(context, images, async (image) =>
      answer(context, await hydrateAsJob(context, resolve(image), options, stateDir)),
    );
  } finally {
    await publishMetrics(context);
  }
}

async function hydrateAsJob(
  context: Context,
  path: string,
  options: Options,
  stateDir: string,
): Promise<Hydrated> {
  await refuseNoImage(path, context.signal);
  const began = Date.now();
  return asJob(
    stateDir,
    'hydrate',
    path,
    async (job) => {
      const { done, version } = await hydratePath(context, path, options, stateDir);
      await noteRefill(stateDir, job, done, began);
      // Whoever did this by hand wants the image, so the queue must not make a stub of it again.
      if (done.hydrated) await job?.update({ heldVersion: version });
      return done;
    },
    { byHand: true },
  );
}

async function hydratePath(
  context: Context,
  path: string,
  options: Options,
  stateDir: string,
): Promise<{ done: Hydrated; version: string }> {
  const host = thisHost();
  const registry = new StubRegistry(stateDir);
  const image = await ImageFile.open(path);
  try {
    const done = await hydrate(
      image,
      { store: () => context.store(), host, registry },
      {
        force: options.force ?? false,
        acceptChangedDisks: options.acceptChangedDisks ?? false,
        acceptUncomparedDisks: (await context.config()).acceptUncomparedDisks,
        lockWaitMs: LOCK_WAIT_MS,
        signal: context.signal,
        onProgress: await context.progress(),
      },
    );
    return { done, version: await image.version() };
  } finally {
    await image.close();
  }
}

function answer({ output }: Context, done: Hydrated): Answer {
  const { image, hydrated, manifest, bytes, losses } = done;
  return {
    json: {
      image,
      hydrated,
      snapshot: manifest?.snapshot ?? null,
      bytes,
      pagesLostByPolicy: losses.byPolicy,
      pagesLostUnexpectedly: losses.unexpected,
      pagesRecovered: losses.recovered,
    },
    say: () => tell(output, done),
  };
}

function tell(output: Output, { image, hydrated, manifest, bytes, losses }: Hydrated): void {
  if (!hydrated) return output.text(`${plain(image)} is whole: nothing to do.`);
  output.text(`${plain(image)} is an image again, ${formatBytes(bytes)}, from ${manifest?.snapshot ?? ''}.`);
  if (losses.byPolicy > 0)
    output.text(
      `${formatCount(losses.byPolicy)} expendable pages were not stored; the guest reads what it needs `
        + `of them from its disks.`,
    );
  if (losses.unexpected > 0)
    output.warning(
      `${formatCount(losses.unexpected)} expendable pages had no readable copy left and were `
        + `recovered; the guest does without them, but look at the store: pars verify`,
    );
}
