// SPDX-License-Identifier: Apache-2.0
/**
 * A store's URL as it may be printed: what looks like a login or an option is left out, for it may be a
 * secret.
 */
export function printableUrl(url: string): string {
  return url.replace(/[?#].*/s, '').replace(/^([a-z]+:\/\/)?[^/]*@/i, '$1');
}
