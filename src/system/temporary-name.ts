// SPDX-License-Identifier: Apache-2.0
/**
 * The names that files have until they are whole: hidden, beside the name they will get, and told from
 * everything else by what sweeps them.
 */
import { randomBytes } from 'node:crypto';

const TEMPORARY = /^\..+\.[0-9a-f]{12}\.tmp$/;

/** A new one for a file that will be called `name`, a name without directories. */
export function temporaryName(name: string): string {
  return `.${name}.${randomBytes(6).toString('hex')}.tmp`;
}

export function isTemporary(name: string): boolean {
  return TEMPORARY.test(name);
}
