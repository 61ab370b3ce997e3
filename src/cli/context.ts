// SPDX-License-Identifier: Apache-2.0
/** What a command works with: configuration, store, policy, output, progress, and a signal that says stop. */
import { bestEffort } from '../system/best-effort.js';
import type { Config } from '../policy/config.js';
import { ParsError } from '../errors.js';
import { Output } from '../ui/output.js';
import type { Policy } from '../policy/policy.js';
import type { OnProgress } from '../progress.js';
import type { Store, StoreOptions } from '../stores/store.js';
import { exitCodeOf, printError } from './failure.js';
import type { SharedOptions } from './options.js';
import { Interruption } from './interruption.js';

export class Context {
  readonly output: Output;
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  readonly #options: SharedOptions;
  #config: Promise<Config> | undefined;
  #store: Promise<Store> | undefined;
  #closers: (() => void)[] = [];

  constructor(options: SharedOptions, output: Output, signal: AbortSignal) {
    this.#options = options;
    this.output = output;
    this.signal = signal;
  }

  /** The configuration file with --store and --policy laid over it. */
  config(): Promise<Config> {
    return (this.#config ??= this.#loadConfig());
  }

  async policy(): Promise<Policy> {
    return (await this.config()).policy;
  }

  /** The URL of the configured store; a usage error when there is none. */
  async storeUrl(): Promise<string> {
    const { store } = await this.config();
    if (store !== null) return store;
    throw new ParsError('usage', 'no store is configured', {
      hint: 'set this host up with "pars init", or give --store URL',
    });
  }

  /** The configured store, opened once and closed when the command ends. */
  store(how: Pick<StoreOptions, 'toResume'> = {}): Promise<Store> {
    return (this.#store ??= this.#openStore(how));
  }

  /** Draws bars on a terminal; does nothing elsewhere, with --quiet or with --json. */
  async progress(): Promise<OnProgress> {
    if (!this.output.wantsProgress) return () => {};
    const { progressBars } = await import('../ui/progress.js');
    const bars = progressBars(process.stderr);
    this.#closers.push(() => bars.stop());
    return bars.update;
  }

  /** Lets go of everything it opened. Safe twice. */
  async close(): Promise<void> {
    for (const close of this.#closers.splice(0)) close();
    // Whoever asked for a store that could not be opened has met the error.
    const [opened] = await Promise.allSettled([this.#store]);
    this.#store = undefined;
    if (opened.status === 'fulfilled') await opened.value?.close();
  }

  async #loadConfig(): Promise<Config> {
    const { loadConfig } = await import('../policy/config.js');
    return loadConfig(this.#options);
  }

  async #openStore(how: StoreOptions): Promise<Store> {
    const { openStore } = await import('../stores/open.js');
    return openStore(await this.storeUrl(), { ...how, signal: this.signal });
  }
}

/**
 * What command modules get: a way to run their work inside a context, with errors printed and exit codes set.
 */
export class Cli {
  exitCode = 0;

  /**
   * Runs `work`, prints what it throws, and sets the exit code. Work that goes on after a failure
   * (several images) reports it with `context.output.failure(...)` and returns the exit code itself.
   */
  async run(options: SharedOptions, work: (context: Context) => Promise<number | void>): Promise<void> {
    const output = new Output(options);
    const interruption = new Interruption();
    const context = new Context(options, output, interruption.signal);
    try {
      this.exitCode = (await work(context)) ?? 0;
    } catch (error) {
      await bestEffort(context.close());
      printError(interruption.explain(error), output);
      this.exitCode = interruption.exitCode ?? exitCodeOf(error);
    } finally {
      await context.close();
      interruption.dispose();
    }
  }
}
