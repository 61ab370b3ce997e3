// SPDX-License-Identifier: Apache-2.0
/** The disks of this host's guests: which of them a start from a stub will not be able to compare. */
import { disksInXml } from '../disks/disks-in-xml.js';
import { foreseeUncompared } from '../disks/foresee.js';
import { definedDomains, virsh } from '../libvirt/domains.js';
import { type Check, ok, warning } from './check.js';

/** `accepted`: the configuration takes such disks for unchanged. */
export async function checkDisks(accepted: boolean): Promise<Check[]> {
  const warnings: Check[] = [];
  for (const uuid of await definedDomains()) {
    const xml = await virsh('dumpxml', uuid);
    const metadata = /<[^>]*\baccept-(?:changed|uncompared)-disks=["']yes["']/.test(xml);
    const found = await foreseeUncompared(disksInXml(xml), { askLibvirt: true });
    if (found.length === 0 || accepted || metadata) continue;
    const name = (await virsh('domname', uuid)).trim();
    const todo =
      'its starts from a stub are refused, and its clean cache is kept, unless that is accepted '
      + '(docs/disks.md)';
    warnings.push(warning('disks', `${name}: ${found.join('; ')}`, todo));
  }
  return warnings.length > 0 ? warnings : [ok('disks', 'those of all guests can be compared before a start')];
}
