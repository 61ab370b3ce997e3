// SPDX-License-Identifier: Apache-2.0
/** Any text as one word of a shell command. */
export function shellWord(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
