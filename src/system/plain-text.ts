// SPDX-License-Identifier: Apache-2.0
/**
 * Text from outside, made fit for a terminal, a log or a table: names and messages come from guests, their
 * owners, stores and servers, and may hold what moves the cursor, renames the window, or hides and reorders
 * letters.
 */

/** Controls: C0, DEL, C1. */
const CONTROLS = '\\u0000-\\u001f\\u007f-\\u009f';
/** Letters without width, and those that set a direction. */
const INVISIBLE = '\\u061c\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff';
const UNFIT = new RegExp(`[${CONTROLS}${INVISIBLE}]`, 'g');
const UNFIT_IN_JSON = new RegExp(`[\\u007f-\\u009f${INVISIBLE}]`, 'g');
/** Colours, line ends, and what is unfit. */
const PIECES = new RegExp(`\\u001b\\[[0-9;]*m|\\r?\\n|[${CONTROLS}${INVISIBLE}]`, 'g');

/** One line at most: a name, a path, a cell. */
export function plain(text: string): string {
  return text.replace(UNFIT, '\ufffd');
}

/** Whole output of several lines; with `colours` it keeps those. */
export function printable(text: string, colours: boolean): string {
  return text.replace(PIECES, (found) => {
    if (found.endsWith('\n') || (colours && found.length > 1)) return found;
    return '\ufffd';
  });
}

/** JSON that no terminal obeys: the same value, with every unfit letter escaped. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value, null, 2).replace(
    UNFIT_IN_JSON,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
