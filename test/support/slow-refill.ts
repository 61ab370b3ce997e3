// SPDX-License-Identifier: Apache-2.0
/** A refill that takes as long as a test wants, as with a slow store: its process is stopped midway. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Outcome } from './lab.js';
import type { ParsHost } from './pars-host.js';

export interface Timed extends Outcome {
  ms: number;
  /** The refill still went on when the answer came. */
  answeredMeanwhile: boolean;
}

/** The process of the next refill, stopped once it says how far it is: what it does before has timeouts. */
const STOP_REFILL = `while true; do
  for note in /var/lib/pars/jobs/hydrate-*.progress; do
    pid=$(sed -n 's/.*"pid":\\([0-9]*\\).*/\\1/p' "$note" 2>/dev/null)
    [ -n "$pid" ] && kill -STOP "$pid" 2>/dev/null && echo "$pid" && exit
  done
done`;

export class SlowRefill {
  #over = false;

  private constructor(
    readonly host: ParsHost,
    readonly pid: string,
    /** What began the refill: a start, or `pars wake`. */
    readonly begun: Promise<Timed>,
  ) {}

  /** Held for `ms` from the moment it began. */
  static async begin(host: ParsHost, ms: number, words: readonly string[]): Promise<SlowRefill> {
    const stopping = host.lab.exec('timeout', ['60', 'sh', '-c', STOP_REFILL]);
    // Whoever enters a namespace stops with the command that it waits for, and nobody lets it go on: so that
    // is to be another.
    const begun = timed(host, ['sh', '-c', '"$@"; exit $?', 'sh', ...words], () => false);
    const { stdout, code } = await stopping;
    if (code !== 0) throw new Error(`no refill began: ${JSON.stringify(await begun)}`);
    const refill = new SlowRefill(host, stdout.trim(), begun);
    void sleep(ms).then(() => refill.goOn());
    return refill;
  }

  async goOn(): Promise<void> {
    this.#over = true;
    await this.host.lab.exec('kill', ['-CONT', this.pid]);
  }

  /** Runs a command inside the lab beside it. */
  beside(...words: readonly string[]): Promise<Timed> {
    return timed(this.host, words, () => !this.#over);
  }

  virsh(...words: readonly string[]): Promise<Timed> {
    return this.beside('virsh', '-q', '-c', 'qemu:///system', ...words);
  }
}

async function timed(host: ParsHost, words: readonly string[], meanwhile: () => boolean): Promise<Timed> {
  const [command = '', ...args] = words;
  const began = Date.now();
  const outcome = await host.lab.exec(command, args);
  return { ...outcome, ms: Date.now() - began, answeredMeanwhile: meanwhile() };
}
