// SPDX-License-Identifier: Apache-2.0
/** The disks of this host's guests: which of them a start from a stub will not be able to compare. */
import { disksInXml } from '../disks/disks-in-xml.js';
import { foreseeUncompared } from '../disks/foresee.js';
import { definedDomains, virsh } from '../libvirt/domains.js';
import { type Check, ok, warning } from './check.js';

/** `accepted`: the configuration takes such disks for unchanged. */
export async function checkDisks(accepted: boolean): Promise<Check[]> {
  const checks: Check[] = [];
  for (const uuid of await definedDomains()) {
    const xml = await virsh('dumpxml', uuid);
    const metadata = /<[^>]*\baccept-(?:changed|uncompared)-disks=["']yes["']/.test(xml);
    const found = await foreseeUncompared(disksInXml(xml), { askLibvirt: true });
    if (found.length === 0) continue;
    const what = `${(await virsh('domname', uuid)).trim()}: ${found.join('; ')}`;
    const todo =
      'its starts from a stub are refused, and its clean cache is kept, unless that is accepted '
      + '(docs/disks.md)';
    checks.push(
      accepted || metadata
        ? ok('disks', `${what}; accepted, so nothing tells whether it was written to before a start`)
        : warning('disks', what, todo),
    );
  }
  return checks.length > 0 ? checks : [ok('disks', 'those of all guests can be compared before a start')];
}
