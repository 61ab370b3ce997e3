import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import { exitCodeOf, printError } from '../cli/failure.js';
import type { SharedOptions } from '../cli/options.js';
import { EXIT_CODES, ParsError } from '../errors.js';
import { plain } from '../faces/plain.js';
import { formatBytes } from '../faces/units.js';
import { thisHost } from '../host.js';
import { DEFAULT_SAVE_DIR } from '../install.js';
import { asJob } from '../jobs.js';
import { offload, type Offloaded, type OffloadPlace } from '../offload.js';
import { offloadPending, type PendingOutcome } from '../pending.js';
import { StubRegistry } from '../stub-registry.js';

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
    .description('Store an image, prove that the store holds it, and leave a stub in its place, which frees its room. Killed or overtaken by a start, it leaves the image whole. Does nothing to a stub.')
    .argument('[image...]', 'libvirt save images (virsh managedsave, virsh save)')
    .option('--pending', 'all managed saves that are still whole, the largest first; leaves them to another pars that does so already')
    .option('--save-dir <dir>', "with --pending: libvirt's directory of managed-save images", DEFAULT_SAVE_DIR)
    .option('--keep-local', 'store it only; the image stays as it is')
    .option('--force', 'offload the image of a guest whose metadata says no')
    .option('--managed-save', `the images are managed saves, which a start consumes (default: those in ${DEFAULT_SAVE_DIR})`)
    .action((images: string[], options: Options) => cli.run(options, (context) => (options.pending ? offloadAllPending(context, images, options) : offloadAll(context, images, options))));
}

async function offloadAllPending(context: Context, images: string[], options: Options): Promise<number> {
  if (images.length > 0) throw new ParsError('usage', '--pending finds the images by itself', { hint: 'name images, or give --pending, not both' });
  const { worked, offloaded, left } = await drainQueue(context, { ...options, saveDir: options.saveDir ?? DEFAULT_SAVE_DIR }, context.signal);
  context.output.json({ worked, offloaded, left });
  context.output.text(`Offloaded ${offloaded.length} images, ${left.length} left${worked || left.length === 0 ? '' : ' to another pars that works on them'}.`);
  return worked && left.length > 0 ? EXIT_CODES.busy : 0;
}

/** Works the queue of managed saves off; failures of single images are reported, and stay in the queue. */
export async function drainQueue(context: Context, options: Options & { saveDir: string }, signal: AbortSignal): Promise<PendingOutcome> {
  const { openStore } = await import('../stores/open.js');
  const store = await openStore(await context.storeUrl());
  const { stateDir } = await context.config();
  const place = { store, host: thisHost(), registry: new StubRegistry(stateDir) };
  const offloadNext = async (image: string): Promise<boolean> => {
    try {
      const { stub, domain } = await offloadAsJob(context, image, place, { ...options, managedSave: true, force: false, keepLocal: false }, signal);
      context.output.note(`offloaded ${plain(domain)}: ${plain(image)}`);
      return stub;
    } catch (error) {
      // With --json the one object on stdout is the outcome, which says why an image is left.
      if (!context.output.isJson) printError(error, context.output);
      return false;
    }
  };
  try {
    return await offloadPending({ stateDir, saveDir: resolve(options.saveDir), offload: offloadNext, signal });
  } finally {
    await store.close();
  }
}

async function offloadAll(context: Context, images: string[], options: Options): Promise<number> {
  if (images.length === 0) throw new ParsError('usage', 'no image is named', { hint: 'name images, or give --pending' });
  const { openStore } = await import('../stores/open.js');
  // Not the context's store: that one stops working when a signal comes, and what was stored must be removed then.
  const store = await openStore(await context.storeUrl());
  let exitCode = 0;
  try {
    const place = { store, host: thisHost(), registry: new StubRegistry((await context.config()).stateDir) };
    for (const image of images) exitCode = (await offloadOne(context, image, place, options, images.length > 1)) || exitCode;
  } finally {
    await store.close();
  }
  return exitCode;
}

async function offloadAsJob(context: Context, image: string, place: OffloadPlace, options: Options, signal: AbortSignal): Promise<Offloaded> {
  const { policy, stateDir } = await context.config();
  const onProgress = await context.progress();
  return asJob(stateDir, 'offload', resolve(image), async (job) => {
    const done = await offload(image, place, {
      policy, policyIsFixed: options.policy !== undefined, keepLocal: options.keepLocal ?? false, force: options.force ?? false,
      managedSave: options.managedSave ?? resolve(image).startsWith(`${DEFAULT_SAVE_DIR}/`),
      leaseWaitMs: LEASE_WAIT_MS, level: LEVEL, signal, onProgress,
    });
    await job?.update({ domain: done.domain, snapshot: done.snapshot });
    return done;
  });
}

/** One of several images that fails does not keep the others from being tried. */
async function offloadOne(context: Context, image: string, place: OffloadPlace, options: Options, oneOfMany: boolean): Promise<number> {
  try {
    const result = await offloadAsJob(context, image, place, options, context.signal);
    context.output.json(result);
    context.output.text(describe(result));
    return 0;
  } catch (error) {
    if (!oneOfMany || context.signal.aborted) throw error;
    printError(error, context.output);
    return exitCodeOf(error);
  }
}

function describe(result: Offloaded): string {
  const name = plain(result.image);
  if (result.alreadyStub) return `${name} is a stub already (${result.snapshot})${result.freedBytes > 0 ? `; freed ${formatBytes(result.freedBytes)} it still held` : ''}.`;
  const stored = `Stored ${name} as ${result.snapshot}: ${formatBytes(result.storedBytes)} over all copies, policy ${result.policy}.`;
  const blind = result.introspected ? '' : `\nThe guest was not introspected, so every page is critical: ${plain(result.reason ?? 'unknown reason')}.`;
  const freed = result.stub ? `\nThe image is a stub now: ${formatBytes(result.freedBytes)} freed.` : '\nThe image stays as it is.';
  return `${stored}${blind}${freed}`;
}
