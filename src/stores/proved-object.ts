// SPDX-License-Identifier: Apache-2.0
/** A new object that counts only when the store has proved that it holds it. */
import type { ObjectTerms, Store, StoredObject } from './store.js';

/**
 * `fill` writes the object's bytes. If anything fails nothing of the object stays, as far as the store can
 * tell.
 */
export async function writeProved(
  store: Pick<Store, 'create' | 'verify'>,
  name: string,
  terms: ObjectTerms,
  fill: (write: (data: Buffer) => Promise<void>) => Promise<void>,
): Promise<StoredObject> {
  const writer = await store.create(name, terms);
  try {
    await fill((data) => writer.write(data));
    const object = await writer.close();
    await store.verify(object);
    return object;
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

export function putProved(
  store: Pick<Store, 'create' | 'verify'>,
  name: string,
  terms: ObjectTerms,
  data: Buffer,
): Promise<StoredObject> {
  return writeProved(store, name, terms, (write) => write(data));
}
