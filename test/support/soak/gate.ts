// SPDX-License-Identifier: Apache-2.0
/** Many may be inside, or one alone; who wants to be alone keeps later ones out until it was. */
export class Gate {
  #inside = 0;
  #alone: Promise<void> | null = null;
  #emptied: (() => void) | null = null;

  async shared<T>(work: () => Promise<T>): Promise<T> {
    while (this.#alone) await this.#alone;
    this.#inside++;
    try {
      return await work();
    } finally {
      this.#inside--;
      if (this.#inside === 0) this.#emptied?.();
    }
  }

  async alone<T>(work: () => Promise<T>): Promise<T> {
    while (this.#alone) await this.#alone;
    let over = (): void => undefined;
    this.#alone = new Promise((resolve) => (over = resolve));
    try {
      if (this.#inside > 0) await new Promise<void>((resolve) => (this.#emptied = resolve));
      return await work();
    } finally {
      this.#emptied = this.#alone = null;
      over();
    }
  }
}
