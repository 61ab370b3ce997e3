// SPDX-License-Identifier: Apache-2.0
/**
 * Text from outside, made fit for a terminal: names come from guests and their owners, and may hold escape
 * sequences.
 */
export function plain(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/g, '\ufffd');
}
