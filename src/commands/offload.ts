// SPDX-License-Identifier: Apache-2.0
import { statfs } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import { eachImage } from '../cli/each-image.js';
import { printError } from '../cli/failure.js';
import { refuseNoImage } from '../cli/named-image.js';
import type { SharedOptions } from '../cli/options.js';
import { EXIT_CODES, ParsError } from '../errors.js';
import type { QueueLimits } from '../policy/config.js';
import { Pace } from '../queue/pace.js';
import { publishMetrics } from './metrics.js';
import { renderLeft } from '../ui/remaining.js';
import { plain } from '../ui/plain.js';
import { formatBytes } from '../ui/units.js';
import { thisHost } from '../system/host.js';

import { asJob } from '../journal/jobs.js';
import { settleStarts } from '../lifecycle/claims.js';
import { offload } from '../lifecycle/offload.js';
import type { Offloaded, OffloadPlace } from '../lifecycle/offload-request.js';
import { countOffload } from '../journal/ledger.js';
import { offloadPending, type PendingOutcome, type WholeSave } from '../queue/pending.js';
import type { Store } from '../stores/store.js';
import { StubRegistry } from '../image/stub-registry.js';
import { DEFAULT_SAVE_DIR } from '../libvirt/paths.js';

interface Options extends SharedOptions {
  pending?: boolean;
  saveDir?: string;
  keepLocal?: boolean;
  force?: boolean;
  managedSave?: boolean;
}

/** A backup that reads the image is given this long to finish. */
const LEASE_WAIT_MS = 30_000;
const LEVEL = 1;

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Store an image, prove that the store holds it, and leave a stub in its place, which frees its '
        + 'room. Killed or overtaken by a start, it leaves the image whole. Does nothing to a stub. With '
        + '--json, one object for one image, and {"images": [...]} for several.',
    )
    .argument('[image...]', 'libvirt save images (virsh managedsave, virsh save)')
    .option(
      '--pending',
      'all managed saves that are still whole, a few at a time, the oldest first or the largest while '
        + 'room is short; leaves them to another pars that does so already; exits with 8 when one of them, '
        + 'or one that cannot be read, is left',
    )
    .option(
      '--save-dir <dir>',
      "with --pending: libvirt's directory of managed-save images",
      DEFAULT_SAVE_DIR,
    )
    .option('--keep-local', 'store it only; the image stays as it is (not with --pending)')
    .option(
      '--force',
      "offload the image of a guest whose metadata says no, or the memory of one of libvirt's own "
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
  const { worked, offloaded, left } = await drainQueue(
    context,
    { ...options, saveDir: options.saveDir ?? DEFAULT_SAVE_DIR },
    { signal: context.signal, hurry: false },
  );
  context.output.json({ worked, offloaded, left });
  context.output.text(
    left.length === 0
      ? `Offloaded ${offloaded.length} images, 0 left.`
      : `Offloaded ${offloaded.length} images, ${left.length} left:\n${renderLeft(left)}`,
  );
  if (!worked && left.some(isDue)) context.output.text('Another pars works on them.');
  return left.some((save) => save.condition === 'unreadable' || (worked && isDue(save)))
    ? EXIT_CODES.busy
    : 0;
}

function isDue({ condition }: WholeSave): boolean {
  return condition === 'due';
}

/**
 * The queue is for images that are to become stubs. One that is only stored would stay in it, and be stored
 * anew by every run.
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
      '--pending takes no image whose guest says no, so there is nothing to force',
      { hint: 'name the image: pars offload --force IMAGE' },
    );
}

interface Haste {
  signal: AbortSignal;
  /** The host goes down: no limit of bandwidth, the largest first, and another worker is waited for. */
  hurry: boolean;
}

/** Works the queue of managed saves off; failures of single images are reported, and stay in the queue. */
export async function drainQueue(
  context: Context,
  options: Options & { saveDir: string },
  { signal, hurry }: Haste,
): Promise<PendingOutcome> {
  const { openStore } = await import('../stores/open.js');
  const store = await openOrPublish(context, openStore);
  const { stateDir, queue } = await context.config();
  const place = { store, host: thisHost(), registry: new StubRegistry(stateDir) };
  const saveDir = resolve(options.saveDir);
  const pace = new Pace({ stateDir, bandwidth: hurry ? null : queue.bandwidth, signal });
  const offloadNext = async (image: string): Promise<boolean> => {
    try {
      const { stub, domain } = await offloadAsJob(
        context,
        image,
        place,
        { ...options, managedSave: true },
        signal,
        pace,
      );
      context.output.note(`offloaded ${plain(domain)}: ${plain(image)}`);
      return stub;
    } catch (error) {
      // With --json the one object on stdout is the outcome, which says why an image is left.
      if (!context.output.isJson) printError(error, context.output, image);
      return false;
    }
  };
  try {
    // Guests started since the last run: the store knows soon which memory is not to be woken again, also
    // when there is nothing to offload.
    await settleStarts(store, place.registry, place.host).catch((error: unknown) =>
      context.output.warning(
        `starts of guests could not be noted in the store: ${plain((error as Error).message)}`,
      ),
    );
    return await offloadPending({
      stateDir,
      saveDir,
      offload: offloadNext,
      signal,
      concurrency: queue.concurrency,
      patient: hurry,
      largestFirst: async () => hurry || (await isShortOfRoom(saveDir, queue.freeSpaceFloor)),
    });
  } finally {
    await store.close();
    await publishMetrics(context, saveDir);
  }
}

/** A store that cannot be reached is what monitoring must hear of. */
async function openOrPublish(context: Context, open: (url: string) => Promise<Store>): Promise<Store> {
  try {
    return await open(await context.storeUrl());
  } catch (error) {
    await publishMetrics(context);
    throw error;
  }
}

async function isShortOfRoom(directory: string, floor: QueueLimits['freeSpaceFloor']): Promise<boolean> {
  const room = await statfs(directory).catch(() => null);
  if (room === null) return false;
  return room.bavail * room.bsize < ('bytes' in floor ? floor.bytes : room.blocks * room.bsize * floor.share);
}

async function offloadAll(context: Context, images: string[], options: Options): Promise<number> {
  if (images.length === 0)
    throw new ParsError('usage', 'no image is named', { hint: 'name images, or give --pending' });
  const { openStore } = await import('../stores/open.js');
  // Not the context's store: that one stops working when a signal comes, and what was stored must be removed
  // then.
  const store = await openOrPublish(context, openStore);
  try {
    const place = { store, host: thisHost(), registry: new StubRegistry((await context.config()).stateDir) };
    const exitCode = await eachImage(context, images, async (image) => {
      await refuseNoImage(resolve(image), context.signal);
      const result = await offloadAsJob(context, image, place, options, context.signal);
      return { json: result, say: () => context.output.text(describe(result)) };
    });
    for (const note of store.notes?.() ?? []) context.output.warning(plain(note));
    return exitCode;
  } finally {
    await store.close();
    await publishMetrics(context);
  }
}

/** `pace`: the queue's; what comes without one was asked for by hand. */
async function offloadAsJob(
  context: Context,
  image: string,
  place: OffloadPlace,
  options: Options,
  signal: AbortSignal,
  pace?: Pace,
): Promise<Offloaded> {
  const { policy, stateDir } = await context.config();
  const onProgress = await context.progress();
  const began = Date.now();
  return asJob(
    stateDir,
    'offload',
    resolve(image),
    async (job) => {
      const done = await offload(image, place, {
        policy,
        policyIsFixed: options.policy !== undefined,
        keepLocal: options.keepLocal ?? false,
        force: options.force ?? false,
        managedSave: options.managedSave ?? resolve(image).startsWith(`${DEFAULT_SAVE_DIR}/`),
        leaseWaitMs: LEASE_WAIT_MS,
        level: LEVEL,
        signal,
        onProgress,
        ...(pace && { pace: (bytes) => pace.take(bytes) }),
      });
      await job?.update({ domain: done.domain, snapshot: done.snapshot });
      if (!done.alreadyStub) await count(stateDir, done, began);
      return done;
    },
    { byHand: pace === undefined },
  );
}

async function count(stateDir: string, done: Offloaded, began: number): Promise<void> {
  const {
    domainUuid: uuid,
    domain: name,
    snapshot,
    imageBytes,
    storedBytes,
    freedBytes,
    criticalCopies,
    classBytes: classes,
  } = done;
  const now = Date.now();
  await countOffload(
    stateDir,
    { uuid, name },
    {
      time: new Date(now).toISOString(),
      seconds: (now - began) / 1000,
      snapshot,
      imageBytes,
      storedBytes,
      freedBytes,
      criticalCopies,
      classes,
    },
  );
}

function describe(result: Offloaded): string {
  const name = plain(result.image);
  if (result.alreadyStub)
    return (
      `${name} is a stub already `
      + `(${result.snapshot})${result.freedBytes > 0 ? `; freed ${formatBytes(result.freedBytes)} it still held` : ''}.`
    );
  const stored =
    `Stored ${name} as ${result.snapshot}: ${formatBytes(result.storedBytes)} over all `
    + `copies, policy ${result.policy}.`;
  const blind = result.introspected
    ? ''
    : `\nThe guest was not introspected, so every page is critical: `
      + `${plain(result.reason ?? 'unknown reason')}.`;
  const freed = result.stub
    ? `\nThe image is a stub now: ${formatBytes(result.freedBytes)} freed.`
    : '\nThe image stays as it is.';
  return `${stored}${blind}${freed}`;
}
