/** Whether data of one copy really is spread over the DataNodes: together on one it would be lost together. */
import type { BlockLocation } from '../webhdfs/index.js';
import type { StoredObject } from './store.js';

/** Of fewer blocks it is chance where they lie. */
const MIN_BLOCKS = 12;
const TOO_MUCH = 0.9;

export class Spread {
  readonly #blocksOn = new Map<string, number>();
  #blocks = 0;

  add({ copies, coding }: StoredObject, blocks: readonly BlockLocation[]): void {
    if (copies !== 1 || coding !== undefined) return;
    for (const { names } of blocks) {
      this.#blocks++;
      for (const name of names) this.#blocksOn.set(name, (this.#blocksOn.get(name) ?? 0) + 1);
    }
  }

  notes(): string[] {
    if (this.#blocks < MIN_BLOCKS) return [];
    const full = [...this.#blocksOn].filter(([, blocks]) => blocks > TOO_MUCH * this.#blocks);
    return full.map(([name, blocks]) => `${blocks} of ${this.#blocks} blocks that have one copy lie on one DataNode, ${name}: they are lost together. Has it the only room?`);
  }
}
