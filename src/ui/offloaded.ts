// SPDX-License-Identifier: Apache-2.0
/** What an offload did, for people. */
import type { Offloaded } from '../lifecycle/offload-request.js';
import { PAGE_BYTES } from '../page-classes.js';
import { plain } from '../system/plain-text.js';
import { formatBytes } from './units.js';

export function describeOffloaded(result: Offloaded): string {
  const name = plain(result.image);
  if (result.alreadyStub)
    return (
      `${name} is a stub already `
      + `(${result.snapshot})`
      + `${result.freedBytes > 0 ? `; freed ${formatBytes(result.freedBytes)} it still held` : ''}.`
    );
  if (result.storedBefore)
    return (
      `${name} is what ${result.snapshot} holds, so nothing was stored again.`
      + `\nThe image is a stub again: ${formatBytes(result.freedBytes)} freed.`
    );
  const stored =
    `Stored ${name} as ${result.snapshot}: ${formatBytes(result.storedBytes)} over all `
    + `copies, policy ${result.policy}.`;
  const blind = result.introspected
    ? ''
    : `\nThe guest was not introspected, so every page is critical: `
      + `${plain(result.reason ?? 'unknown reason')}.`;
  const freed = result.stub
    ? `\nThe image is a stub now: ${formatBytes(result.freedBytes)} freed.`
    : '\nThe image stays as it is.';
  return `${stored}${onDisks(result)}${blind}${freed}${uncompared(result)}`;
}

function onDisks({ diskPages }: Offloaded): string {
  if (diskPages === 0) return '';
  return (
    `\n${formatBytes(diskPages * PAGE_BYTES)} of page cache are on the guest's own disks and were not `
    + `stored: it needs them as they are.`
  );
}

/** Said while the guest's owner can still do something about it. */
function uncompared({ uncomparedDisks }: Offloaded): string {
  if (uncomparedDisks.length === 0) return '';
  return (
    `\n${uncomparedDisks.map(plain).join('; ')}: a start is refused unless that is accepted `
    + `(docs/disks.md), and the clean cache is kept.`
  );
}
