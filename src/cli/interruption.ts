// SPDX-License-Identifier: Apache-2.0
/** SIGINT and SIGTERM as an AbortSignal. A second one ends the process at once. */
import { constants } from 'node:os';

type StopSignal = 'SIGINT' | 'SIGTERM';

export class Interruption {
  readonly #controller = new AbortController();
  #received: StopSignal | undefined;

  constructor() {
    process.on('SIGINT', this.#onSignal);
    process.on('SIGTERM', this.#onSignal);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** 128 + the signal's number when one stopped us, as shells count. */
  get exitCode(): number | undefined {
    return this.#received && 128 + constants.signals[this.#received];
  }

  /** What an error means: whatever was thrown after a signal came is the interruption. */
  explain(error: unknown): unknown {
    return this.#received ? new Error(`interrupted by ${this.#received}`, { cause: error }) : error;
  }

  dispose(): void {
    process.off('SIGINT', this.#onSignal);
    process.off('SIGTERM', this.#onSignal);
  }

  readonly #onSignal = (name: StopSignal): void => {
    if (this.#received) process.exit(this.exitCode);
    this.#received = name;
    this.#controller.abort(new Error(`interrupted by ${name}`));
  };
}
