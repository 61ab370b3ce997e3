// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import { type Answer, eachImage } from '../cli/each-image.js';
import { publishMetrics } from '../cli/metrics-file.js';
import type { SharedOptions } from '../cli/options.js';
import { answerRefilled } from '../cli/refilled.js';
import { ParsError } from '../errors.js';
import { StubRegistry } from '../image/stub-registry.js';
import { startedAtBoot } from '../libvirt/boot.js';
import { DEFAULT_SAVE_DIR } from '../libvirt/paths.js';
import { Bandwidth } from '../queue/bandwidth.js';
import { guestSavesIn, inStartOrder, isStartedAtBoot, saveOfGuest } from '../queue/guest-saves.js';
import { hydrateAsJob } from '../queue/image-job.js';
import { isUnfinished } from '../status/host-status.js';
import { openStore } from '../stores/open.js';
import type { Store } from '../stores/store.js';
import { thisHost } from '../system/host.js';
import { plain } from '../system/plain-text.js';

interface Options extends SharedOptions {
  all?: boolean;
  starting?: boolean;
  saveDir: string;
}

/** Another process may be refilling it, or about to make a stub of it: that comes to its end. */
const LOCK_WAIT_MS = 600_000;

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Refill the stubs of guests ahead of their starts, so that a start takes no longer than without '
        + 'Pars and nothing else in libvirt waits for it: what libvirt refills in its hook holds up the '
        + 'guest and, while it lasts, whoever lists guests. libvirt is not asked and need not run. Ctrl-C '
        + 'or "pars cancel" leaves the stub as it was. An image whose guest is not started within '
        + 'wake.settle (an hour) becomes a stub again, unlike one that was refilled with "pars hydrate", '
        + 'which takes files and is for leaving Pars. Does nothing to an image that is not a stub. With '
        + '--all the bandwidth of the configuration (wake.bandwidth) holds, guests with autostart come '
        + 'first, then those that libvirt-guests starts again, then the youngest saves; with --json, one '
        + 'object for one image, and {"images": [...]} for several.',
    )
    .argument('[guest...]', 'names or UUIDs')
    .option('--all', 'every guest of this host that has a managed save')
    .option('--starting', 'with --all: only guests that this host starts by itself at a boot')
    .option('--save-dir <dir>', "libvirt's directory of managed-save images", DEFAULT_SAVE_DIR)
    .action((guests: string[], options: Options) =>
      cli.run(options, (context) => wake(context, guests, options)),
    );
}

async function wake(context: Context, guests: string[], options: Options): Promise<number> {
  refuseUnclear(guests, options);
  const refiller = await refillerOf(context, options);
  try {
    if (!options.all)
      return await eachImage(context, guests, async (guest) =>
        refiller((await saveOfGuest(options.saveDir, guest, context.signal)).image),
      );
    const { images, unreadable } = await imagesToWake(context, options);
    if (images.length + unreadable.size > 0)
      return await eachImage(context, [...images, ...unreadable.keys()], async (image) => {
        const error = unreadable.get(image);
        if (error !== undefined) throw naming(image, error);
        return refiller(image).catch((why: unknown) => {
          throw naming(image, why);
        });
      });
    context.output.json({ images: [] });
    context.output.text('There is nothing to wake: none of these managed saves is a stub.');
    return 0;
  } finally {
    await publishMetrics(context, options.saveDir);
  }
}

/** What refills one image after the other. */
async function refillerOf(context: Context, { all }: Options): Promise<(image: string) => Promise<Answer>> {
  const { stateDir, acceptUncomparedDisks, wake } = await context.config();
  const url = await context.storeUrl();
  const bandwidth = new Bandwidth(all ? wake.bandwidth : null, context.signal);
  const onProgress = await context.progress();
  return async (image) => {
    const opened: Store[] = [];
    const store = async (signal: AbortSignal): Promise<Store> => {
      opened.push(await openStore(url, { signal, toResume: true }));
      return opened.at(-1)!;
    };
    const place = { store, host: thisHost(), registry: new StubRegistry(stateDir) };
    const refill = hydrateAsJob(image, place, {
      stateDir,
      holdMs: wake.settleMs,
      force: false,
      acceptChangedDisks: false,
      acceptUncomparedDisks,
      lockWaitMs: LOCK_WAIT_MS,
      pace: (bytes) => bandwidth.take(bytes),
      signal: context.signal,
      onProgress,
    });
    const done = await refill.finally(() => Promise.all(opened.map((one) => one.close())));
    return answerRefilled(context.output, done);
  };
}

function refuseUnclear(guests: readonly string[], { all, starting }: Options): void {
  const problem =
    all && guests.length > 0
      ? 'either guests or --all'
      : !all && guests.length === 0
        ? 'which guest?'
        : starting && !all
          ? '--starting narrows --all'
          : null;
  if (problem !== null)
    throw new ParsError('usage', problem, { hint: 'e.g. pars wake GUEST, or pars wake --all' });
}

/** Nobody has named the image, so its error does. */
function naming(image: string, error: unknown): unknown {
  if (!(error instanceof ParsError) || error.message.includes(image)) return error;
  const { kind, hint, message } = error;
  return new ParsError(kind, `${image}: ${message}`, { ...(hint !== undefined && { hint }), cause: error });
}

/** What cannot be read may be a stub that a start waits for: it fails, after the others had their turn. */
async function imagesToWake(
  context: Context,
  { saveDir, starting }: Options,
): Promise<{ images: string[]; unreadable: Map<string, ParsError> }> {
  const { saves, unreadable } = await guestSavesIn(saveDir, context.signal);
  for (const { image, error } of unreadable.filter((one) => isUnfinished(one.error)))
    context.output.warning(`${plain(image)} is passed over: ${plain(error.message)}`);
  const failing = unreadable.filter(({ error }) => !isUnfinished(error));
  const boot = await startedAtBoot();
  const stubs = saves.filter((save) => save.isStub && (!starting || isStartedAtBoot(save, boot)));
  return {
    images: inStartOrder(stubs, boot).map(({ image }) => image),
    unreadable: new Map(failing.map(({ image, error }) => [image, error])),
  };
}
