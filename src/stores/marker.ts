// SPDX-License-Identifier: Apache-2.0
/** What the markers of all stores have in common (R22): the name, the version, and the store's own number. */
import { randomBytes } from 'node:crypto';

export const MARKER_FILE = 'pars-store.json';
export const MARKER_FORMAT = 1;

/** Random, hex, 32 digits. */
export function newStoreId(): string {
  return randomBytes(16).toString('hex');
}
