// SPDX-License-Identifier: Apache-2.0
/** From a URL to the store behind it. */
import { ParsError } from '../errors.js';
import { printableUrl } from './printable-url.js';
import type { Store, StoreOptions } from './store.js';

export const STORE_SCHEMES = ['local', 'webhdfs', 'swebhdfs'] as const;

export type StoreScheme = (typeof STORE_SCHEMES)[number];

/** Splits a store URL; an unknown scheme is a usage error that lists the known ones. */
export function parseStoreUrl(url: string): { scheme: StoreScheme; rest: string } {
  const colon = url.indexOf(':');
  const scheme = STORE_SCHEMES.find((known) => known === url.slice(0, colon));
  if (colon > 0 && scheme) return { scheme, rest: url.slice(colon + 1) };
  throw new ParsError('usage', `"${printableUrl(url)}" is not the URL of a store`, {
    hint:
      `known: ${STORE_SCHEMES.map((name) => `${name}:...`).join(', ')}; e.g. `
      + `local:/srv/d1,/srv/d2,/srv/d3 or webhdfs://nn1:9870,nn2:9870/pars`,
  });
}

/** Opens the store at `url`. It says nothing yet of whether the store can be reached: ask its status. */
export async function openStore(url: string, options: StoreOptions = {}): Promise<Store> {
  const { scheme, rest } = parseStoreUrl(url);
  if (scheme !== 'local') {
    const { HdfsStore } = await import('./hdfs/hdfs-store.js');
    return new HdfsStore(url, options);
  }
  const { LocalStore } = await import('./local/local-store.js');
  return LocalStore.fromPath(rest, options);
}
