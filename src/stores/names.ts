// SPDX-License-Identifier: Apache-2.0
/**
 * Names of objects: relative paths of plain segments, so that no name can leave its store or mean something
 * to a shell (R23).
 */
import { ParsError } from '../errors.js';

const SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;

/** True for a name every store can hold. Nothing that begins with a dot: those are a store's own. */
export function isObjectName(name: string): boolean {
  return name.split('/').every((segment) => SEGMENT.test(segment));
}

export function checkObjectName(name: string): void {
  if (!isObjectName(name))
    throw new ParsError('internal', `${JSON.stringify(name)} is not the name of an object`);
}
