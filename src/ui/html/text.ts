// SPDX-License-Identifier: Apache-2.0
/** Text for a page of HTML: whatever came from a guest is text and stays text. */
import { plain } from '../../system/plain-text.js';

export function esc(text: string): string {
  return plain(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** A value as JSON inside a <script>: nothing in it can end the element. */
export function inlineJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** An element's worth of rows. */
export function rows<T>(items: readonly T[], row: (item: T) => string): string {
  return items.map(row).join('\n');
}
