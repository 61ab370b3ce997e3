// SPDX-License-Identifier: Apache-2.0
/** Versions of other programs, as far as they matter here. */
export type Version = readonly [major: number, minor: number];

export function isAtLeast([major, minor]: Version, [leastMajor, leastMinor]: Version): boolean {
  return major > leastMajor || (major === leastMajor && minor >= leastMinor);
}
