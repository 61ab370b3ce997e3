// SPDX-License-Identifier: Apache-2.0
/** One run of the queue for a command: opens the store, prints what happens, and publishes the metrics. */
import { resolve } from 'node:path';
import { StubRegistry } from '../image/stub-registry.js';
import type { Removable } from '../lifecycle/prune.js';
import { drainQueue } from '../queue/drain.js';
import type { PendingOutcome } from '../queue/pending.js';
import type { Store } from '../stores/store.js';
import { thisHost } from '../system/host.js';
import { counted } from '../system/counted.js';
import { plain } from '../system/plain-text.js';
import type { Context } from './context.js';
import { printError } from './failure.js';
import { formatBytes } from '../ui/units.js';
import { publishMetrics } from './metrics-file.js';

export interface QueueRun {
  saveDir: string;
  policyIsFixed: boolean;
  signal: AbortSignal;
  /** The host goes down: see `Drain`. */
  hurry: boolean;
}

/** Failures of single images are printed, and the images stay in the queue. */
export async function runQueue(context: Context, run: QueueRun): Promise<PendingOutcome> {
  const store = await openOrPublish(context);
  const { stateDir, queue, policy, diskReferences, watch, retention } = await context.config();
  const { output } = context;
  const saveDir = resolve(run.saveDir);
  const { policyIsFixed, signal, hurry } = run;
  try {
    return await drainQueue({
      saveDir,
      watch,
      limits: queue,
      retention,
      place: { store, host: thisHost(), registry: new StubRegistry(stateDir) },
      job: { stateDir, policy, policyIsFixed, diskReferences, signal, onProgress: await context.progress() },
      hurry,
      signal,
      listener: {
        offloaded: (image, domain) => output.note(`offloaded ${plain(domain)}: ${plain(image)}`),
        // With --json the one object on stdout is the outcome, which says why an image is left.
        failed: (image, error) => {
          if (!output.isJson) printError(error, output, image);
        },
        heldBack: (image, reason) => output.note(`waiting with ${plain(image)}: ${plain(reason)}`),
        startsNotNoted: ({ message }) =>
          output.warning(`starts of guests could not be noted in the store: ${plain(message)}`),
        pruned: ({ removed, removable }) => output.note(describePruned(removed, removable)),
        notPruned: ({ message }) => output.note(`nothing was pruned: ${plain(message)}`),
      },
    });
  } finally {
    await store.close();
    await publishMetrics(context, saveDir);
  }
}

function describePruned(removed: readonly string[], removable: readonly Removable[]): string {
  const gone = removable.filter(({ snapshot }) => removed.includes(snapshot));
  const bytes = formatBytes(gone.reduce((sum, { storedBytes }) => sum + storedBytes, 0));
  const names = removed.map(plain).join(', ');
  return `pruned ${counted(removed.length, 'snapshot')} that no guest needs, ${bytes}: ${names}`;
}

/**
 * Not the context's store: that one stops working when a signal comes, and what was stored must be removed
 * then. A store that cannot be reached is what monitoring must hear of.
 */
export async function openOrPublish(context: Context): Promise<Store> {
  const { openStore } = await import('../stores/open.js');
  try {
    return await openStore(await context.storeUrl());
  } catch (error) {
    await publishMetrics(context);
    throw error;
  }
}
