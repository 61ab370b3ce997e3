// SPDX-License-Identifier: Apache-2.0
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import { eachImage } from '../cli/each-image.js';
import { publishMetrics } from '../cli/metrics-file.js';
import { refuseNoImage } from '../cli/named-image.js';
import type { SharedOptions } from '../cli/options.js';
import { openOrPublish, runQueue } from '../cli/queue-run.js';
import { EXIT_CODES, ParsError } from '../errors.js';
import { StubRegistry } from '../image/stub-registry.js';
import { DEFAULT_SAVE_DIR } from '../libvirt/paths.js';
import { type ImageJob, offloadAsJob } from '../queue/image-job.js';
import { Pace } from '../queue/pace.js';
import { sayingWhatCouldGo } from '../queue/tidy.js';
import type { WholeSave } from '../queue/pending.js';
import { isManagedSave } from '../status/save-places.js';
import { thisHost } from '../system/host.js';
import { describeOffloaded } from '../ui/offloaded.js';
import { plain } from '../system/plain-text.js';
import { renderLeft } from '../ui/remaining.js';
import { counted } from '../system/counted.js';

interface Options extends SharedOptions {
  pending?: boolean;
  saveDir?: string;
  keepLocal?: boolean;
  force?: boolean;
  managedSave?: boolean;
}

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Store an image, prove that the store holds it, and leave a stub in its place, which frees its '
        + 'disk space. If interrupted, or if the guest is started meanwhile, the image is left untouched. '
        + 'Does nothing to a stub. With --json, one object for one image, and {"images": [...]} for several.',
    )
    .argument('[image...]', 'libvirt save images (virsh managedsave, virsh save)')
    .option(
      '--pending',
      'all managed saves that are not offloaded yet, and the finished saves in watched directories, a few '
        + 'at a time, the oldest first, or the largest while disk space is short; does nothing while another '
        + 'pars process is doing so; exits with 8 when one of them, or one that cannot be read, is left',
    )
    .option(
      '--save-dir <dir>',
      "with --pending: libvirt's directory of managed-save images",
      DEFAULT_SAVE_DIR,
    )
    .option('--keep-local', 'store it only; the image stays as it is (not with --pending)')
    .option(
      '--force',
      'offload the image of a guest that opted out (offload="no"), or the memory of one of libvirt\'s own '
        + 'snapshots (not with --pending)',
    )
    .option(
      '--managed-save',
      `the images are managed saves, which a start consumes (default: those in ${DEFAULT_SAVE_DIR})`,
    )
    .action((images: string[], options: Options) =>
      cli.run(options, (context) =>
        options.pending ? offloadAllPending(context, images, options) : offloadAll(context, images, options),
      ),
    );
}

async function offloadAllPending(context: Context, images: string[], options: Options): Promise<number> {
  refuseWithPending(images, options);
  const { worked, offloaded, left } = await runQueue(context, {
    saveDir: options.saveDir ?? DEFAULT_SAVE_DIR,
    policyIsFixed: options.policy !== undefined,
    signal: context.signal,
    hurry: false,
  });
  // Stopped before it had its turn: that says nothing of another process.
  if (!worked) context.signal.throwIfAborted();
  context.output.json({ worked, offloaded, left });
  context.output.text(
    left.length === 0
      ? `Offloaded ${counted(offloaded.length, 'image')}, 0 left.`
      : `Offloaded ${counted(offloaded.length, 'image')}, ${left.length} left:\n${renderLeft(left)}`,
  );
  if (!worked && left.some(isDue)) context.output.text('Another pars process is already handling them.');
  return left.some((save) => save.condition === 'unreadable' || (worked && isDue(save)))
    ? EXIT_CODES.busy
    : 0;
}

function isDue({ condition }: WholeSave): boolean {
  return condition === 'due';
}

/**
 * The queue is for images that are to become stubs. One that is only stored would stay in it, and be stored
 * again by every run.
 */
function refuseWithPending(images: readonly string[], { keepLocal, force }: Options): void {
  if (images.length > 0)
    throw new ParsError('usage', '--pending finds the images by itself', {
      hint: 'name images, or give --pending, not both',
    });
  if (keepLocal)
    throw new ParsError('usage', '--pending frees the images it stores, and --keep-local frees none', {
      hint: 'to store images and keep them, name them: pars offload --keep-local IMAGE...',
    });
  if (force)
    throw new ParsError(
      'usage',
      '--pending skips guests that opted out (offload="no"), so there is nothing to force',
      { hint: 'name the image: pars offload --force IMAGE' },
    );
}

async function offloadAll(context: Context, images: string[], options: Options): Promise<number> {
  if (images.length === 0)
    throw new ParsError('usage', 'no image is named', { hint: 'name images, or give --pending' });
  const store = await openOrPublish(context);
  try {
    const place = { store, host: thisHost(), registry: new StubRegistry((await context.config()).stateDir) };
    const exitCode = await eachImage(context, images, async (image) => {
      await refuseNoImage(resolve(image), context.signal);
      const job = await jobOf(context, image, options);
      const result = await offloadAsJob(image, place, job).catch(async (error: unknown) => {
        throw await sayingWhatCouldGo(error, { ...place, retention: (await context.config()).retention });
      });
      return { json: result, say: () => context.output.text(describeOffloaded(result)) };
    });
    for (const note of store.notes?.() ?? []) context.output.warning(plain(note));
    return exitCode;
  } finally {
    await store.close();
    await publishMetrics(context);
  }
}

async function jobOf(context: Context, image: string, options: Options): Promise<ImageJob> {
  const { policy, diskReferences, stateDir, queue } = await context.config();
  return {
    pace: new Pace({ stateDir, bandwidth: queue.bandwidth, signal: context.signal }),
    byHand: true,
    stateDir,
    policy,
    diskReferences,
    policyIsFixed: options.policy !== undefined,
    keepLocal: options.keepLocal ?? false,
    force: options.force ?? false,
    managedSave: options.managedSave ?? (await isManagedSave(image, DEFAULT_SAVE_DIR)),
    signal: context.signal,
    onProgress: await context.progress(),
  };
}
