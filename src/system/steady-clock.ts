// SPDX-License-Identifier: Apache-2.0
/**
 * Milliseconds of a clock that only goes forward, for how long something took or is waited for. That of the
 * day is set, by hours and years soon after a boot.
 */
export function steadyMs(): number {
  return performance.now();
}
