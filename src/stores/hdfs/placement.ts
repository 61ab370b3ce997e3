// SPDX-License-Identifier: Apache-2.0
/** Data of one copy is spread over the DataNodes: together on one it would be lost together. */
import type { BlockLocation, OfferReceiver, Redirect } from '../../webhdfs/index.js';
import type { StoredObject } from '../store.js';

/** The NameNode offers one receiver at a time, at random: of so many offers the emptiest is taken. */
const OFFERS = 16;
/** After so many offers of the same one there is no other. */
const SAME_OFFERS = 6;
/** One that holds little more than the emptiest is as good. */
const AS_GOOD = 1.25;
/** Of fewer blocks it is chance where they lie. */
const MIN_BLOCKS = 12;
const TOO_MUCH = 0.9;

/**
 * Chooses for each file of one copy who receives it: whoever has received least. A DataNode keeps what it
 * receives, so all of a file lies there. Where the NameNode offers nobody else (it prefers a DataNode on this
 * very host; a gateway receives everything itself), each block goes where chance sends it.
 */
export class Spread {
  readonly #bytesSentTo = new Map<string, number>();
  readonly #unreachable = new Set<string>();
  readonly #blocksOn = new Map<string, number>();
  #blocks = 0;

  /** @param places DataNodes that are alive, as far as that is known */
  async chooseReceiver(
    places: number,
    offer: OfferReceiver,
    unreachable: ReadonlySet<string>,
  ): Promise<Redirect> {
    for (const name of unreachable) this.#unreachable.add(name);
    const least = AS_GOOD * this.#leastSent(places);
    const offered = new Set<string>();
    let emptiest: Redirect | undefined;
    for (let offers = 0; offers < OFFERS; offers++) {
      const redirect = await offer();
      offered.add(redirect.name);
      if (emptiest === undefined || this.#costOf(redirect) < this.#costOf(emptiest)) emptiest = redirect;
      if (this.#costOf(emptiest) <= least) return emptiest;
      if (offers >= SAME_OFFERS && offered.size === 1) break;
    }
    return emptiest === undefined || offered.size === 1 ? offer(['IGNORE_CLIENT_LOCALITY']) : emptiest;
  }

  sent(receiver: string, bytes: number): void {
    this.#bytesSentTo.set(receiver, (this.#bytesSentTo.get(receiver) ?? 0) + bytes);
  }

  /** Where the blocks of an object came to lie. */
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
    return full.map(
      ([name, blocks]) =>
        `${blocks} of ${this.#blocks} blocks that have one copy lie on one DataNode, ${name}: they are `
        + `lost together. Has it the only room?`,
    );
  }

  /** Bytes sent to whoever got least: 0 as long as somebody may have got nothing. */
  #leastSent(places: number): number {
    const reached = [...this.#bytesSentTo].filter(([name]) => !this.#unreachable.has(name));
    return reached.length + this.#unreachable.size < places
      ? 0
      : Math.min(...reached.map(([, bytes]) => bytes));
  }

  #costOf({ name }: Redirect): number {
    return this.#unreachable.has(name) ? Infinity : (this.#bytesSentTo.get(name) ?? 0);
  }
}
