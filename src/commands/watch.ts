// SPDX-License-Identifier: Apache-2.0
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { bestEffort } from '../system/best-effort.js';
import type { Cli, Context } from '../cli/context.js';
import { printError } from '../cli/failure.js';
import type { SharedOptions } from '../cli/options.js';
import { runQueue } from '../cli/queue-run.js';
import { finishedSavesOn, type FinishedSave } from '../image/save-watcher.js';
import { directoriesOf } from '../image/watched-directories.js';
import { noteFinishedSave } from '../journal/finished-saves.js';
import { DEFAULT_SAVE_DIR } from '../libvirt/paths.js';
import { realDirectory } from '../system/real-path.js';
import { plain } from '../system/plain-text.js';

interface Options extends SharedOptions {
  saveDir: string;
}

/** What libvirt finishes at the same time goes in one run. */
const GATHER_MS = 200;
/** A run that left something (the store was away, an image in use) is followed by another after this long. */
const AGAIN_MS = 60_000;

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Offload every save as soon as libvirt has finished it, wherever that is: managed saves, "virsh '
        + 'save" to any file, memory files of snapshots. Watches whole file systems: those of the managed '
        + 'saves, of the directories in the configuration (watch), and of those named here. What other '
        + 'programs put there is offloaded only inside watched directories. Saves to block devices are not '
        + 'handled. Runs until it is stopped (contrib/systemd/pars-watch.service).',
    )
    .argument('[directory...]', 'a directory on each further file system to watch')
    .option('--save-dir <dir>', "libvirt's directory of managed-save images", DEFAULT_SAVE_DIR)
    .action((directories: string[], options: Options) =>
      cli.run(options, (context) => watch(context, directories, options)),
    );
}

async function watch(context: Context, named: string[], options: Options): Promise<void> {
  const { stateDir, watch: patterns } = await context.config();
  const watched = new Set(
    await Promise.all([options.saveDir, ...(await directoriesOf(patterns))].map(realDirectory)),
  );
  const directories = [...watched, ...(await Promise.all(named.map(realDirectory)))];
  const worker = new Worker(context, options);
  try {
    for await (const save of finishedSavesOn(directories, context.signal)) {
      if (save === null)
        context.output.note(`watching the file systems of ${directories.map(plain).join(', ')}`);
      else if (!(await concerns(save, watched, stateDir))) continue;
      worker.notify();
    }
  } finally {
    await worker.stop();
  }
}

/** True when a worker will find it. */
async function concerns(
  save: FinishedSave,
  watched: ReadonlySet<string>,
  stateDir: string,
): Promise<boolean> {
  if (watched.has(dirname(save.image))) return true;
  if (save.byLibvirt) await noteFinishedSave(stateDir, save.image);
  return save.byLibvirt;
}

/**
 * Works the queue off when it is notified, one run at a time; after a run that left something, again by
 * itself.
 */
class Worker {
  readonly #context: Context;
  readonly #options: Options;
  #notified = false;
  #running: Promise<void> | null = null;

  constructor(context: Context, options: Options) {
    this.#context = context;
    this.#options = options;
  }

  notify(): void {
    this.#notified = true;
    this.#running ??= this.#run().finally(() => (this.#running = null));
  }

  async stop(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#context;
    while (this.#notified && !signal.aborted) {
      await bestEffort(sleep(GATHER_MS, undefined, { signal }));
      this.#notified = false;
      if (!(await this.#drain()) && !signal.aborted) setTimeout(() => this.notify(), AGAIN_MS).unref();
    }
  }

  /** False when something is left. */
  async #drain(): Promise<boolean> {
    const { signal, output } = this.#context;
    try {
      const { saveDir, policy } = this.#options;
      const run = { saveDir, policyIsFixed: policy !== undefined, signal, hurry: false };
      const { left } = await runQueue(this.#context, run);
      return !left.some(({ condition }) => condition === 'due');
    } catch (error) {
      if (!signal.aborted) printError(error, output);
      return false;
    }
  }
}
