// SPDX-License-Identifier: Apache-2.0
/** Who receives what has one copy: the NameNode is played, for its choice is chance. */
import { describe, expect, it } from 'vitest';
import { Spread } from '../../src/stores/hdfs/placement.js';
import type { OfferReceiver, Redirect } from '../../src/webhdfs/index.js';

const NOBODY: ReadonlySet<string> = new Set();
const MIB = 1 << 20;

const redirectTo = (name: string): Redirect => ({
  name,
  url: new URL(`http://${name}/`),
  isGateway: false,
  headers: {},
});

/** Offers the DataNodes in an order that is no order. */
function offering(...names: string[]): { offer: OfferReceiver; flags: string[][] } {
  const flags: string[][] = [];
  let state = 1;
  const offer: OfferReceiver = async (more = []) => {
    flags.push([...more]);
    state = (state * 1103515245 + 12345) % 2 ** 31;
    return redirectTo(names[Math.floor((state / 2 ** 31) * names.length)] ?? '');
  };
  return { offer, flags };
}

async function sendAll(
  spread: Spread,
  places: number,
  offer: OfferReceiver,
  sizes: readonly number[],
  unreachable = NOBODY,
): Promise<Map<string, number>> {
  const sent = new Map<string, number>();
  for (const bytes of sizes) {
    const { name } = await spread.chooseReceiver(places, offer, unreachable);
    spread.sent(name, bytes);
    sent.set(name, (sent.get(name) ?? 0) + bytes);
  }
  return sent;
}

describe('what has one copy', () => {
  it('goes to whoever received least', async () => {
    const { offer } = offering('a:1', 'b:1', 'c:1', 'd:1', 'e:1');
    const sizes = [4, 4, 4, 4, 8, 8, 8, 8, 16, 16, 16, 16].map((size) => size * MIB);
    const sent = await sendAll(new Spread(), 5, offer, sizes);
    expect(sent.size).toBe(5);
    const share = sizes.reduce((sum, size) => sum + size, 0) / 5;
    expect(Math.max(...sent.values())).toBeLessThan(1.5 * share);
    expect(Math.min(...sent.values())).toBeGreaterThan(0.5 * share);
  });

  it('is spread over many DataNodes with one question each', async () => {
    const { offer, flags } = offering(...Array.from({ length: 5000 }, (_, i) => `n${i}:1`));
    const sent = await sendAll(new Spread(), 5000, offer, Array<number>(20).fill(MIB));
    expect(sent.size).toBe(20);
    expect(flags).toHaveLength(20);
  });

  it('avoids a DataNode that was not reached, also in the next file', async () => {
    const { offer } = offering('a:1', 'b:1', 'c:1');
    const spread = new Spread();
    await sendAll(spread, 3, offer, [MIB], new Set(['b:1']));
    const sent = await sendAll(spread, 3, offer, Array<number>(6).fill(MIB));
    expect([...sent.keys()].sort()).toEqual(['a:1', 'c:1']);
  });

  it('goes where chance sends each block when the NameNode offers a neighbour only', async () => {
    const { offer, flags } = offering('here:1');
    const spread = new Spread();
    await sendAll(spread, 5, offer, [MIB]);
    expect(flags).toEqual([[]]);
    await sendAll(spread, 5, offer, [MIB]);
    expect(flags.at(-1)).toEqual(['IGNORE_CLIENT_LOCALITY']);
    expect(flags.length).toBeLessThan(10);
  });

  it('goes to the only one there is', async () => {
    const { offer, flags } = offering('only:1');
    await sendAll(new Spread(), 1, offer, [MIB, MIB, MIB]);
    expect(flags).toEqual([[], [], []]);
  });
});
