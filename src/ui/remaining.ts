// SPDX-License-Identifier: Apache-2.0
/** The managed saves that stay whole, as people see them. */
import type { WholeSave } from '../status/host-status.js';
import { plain } from '../system/plain-text.js';
import { formatBytes } from './units.js';

/** A line each. */
export function renderLeft(left: readonly WholeSave[]): string {
  return left
    .map(({ image, bytes, reason }) => `  ${plain(image)} (${formatBytes(bytes)}): ${plain(reason)}`)
    .join('\n');
}
