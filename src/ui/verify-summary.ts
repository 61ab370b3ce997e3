// SPDX-License-Identifier: Apache-2.0
/** What verify comes to: whether everything can still be read, and the next command. */
import type { Condition, ObjectFinding } from '../health/snapshot-health.js';
import { type Verification, worstFault } from '../health/verify.js';
import { counted } from '../system/counted.js';
import { formatCount } from './units.js';

/** `again`: the call that repairs what was looked at. */
export function verifySummary(found: readonly Verification[], again: string): string {
  const intact = found.filter((one) => worstFault(one) === null).length;
  const count = `${intact} of ${counted(found.length, 'snapshot')} intact.`;
  const next = nextStep(found, again);
  return [`${count} ${readable(found)}`, ...(next === null ? [] : [`Next: ${next}`])].join('\n');
}

/** What is known of the data, the worst first: nothing is called readable that was not read. */
function readable(found: readonly Verification[]): string {
  const lost = found.filter((one) => has(one, 'lost', true)).length;
  if (lost > 0)
    return (
      `Critical data of ${counted(lost, 'snapshot')} is in no copy: ` + 'its guest cannot be resumed from it.'
    );
  const unseen = found.filter(({ health }) => health === null).length;
  if (unseen > 0) return `${counted(unseen, 'snapshot')} could not be examined.`;
  const away = found.filter((one) => has(one, 'unreachable')).length;
  if (away > 0)
    return `Data of ${counted(away, 'snapshot')} cannot be reached now; nothing of it is known to be lost.`;
  const all = found.flatMap(findingsOf);
  const rest = all.every(({ read }) => read)
    ? ''
    : ' Of what was not read only presence and size were checked.';
  const pages = all.flatMap(({ lost: frames }) => frames).reduce((sum, frame) => sum + frame.pages, 0);
  if (pages === 0) return `All data ${rest === '' ? '' : 'that was read '}is still readable.${rest}`;
  return (
    `All critical data ${rest === '' ? '' : 'that was read '}is still readable; `
    + `${formatCount(pages)} expendable `
    + `pages are in no copy, and guests read what they need of them from their disks.${rest}`
  );
}

function nextStep(found: readonly Verification[], again: string): string | null {
  const bad = found.filter((one) => worstFault(one) !== null);
  const [worst] = bad.filter((one) => has(one, 'lost', true));
  if (worst?.repair)
    return worst.storedAnew === null
      ? `bring the store's missing disks back, or give the snapshot up: pars rm --yes ${worst.snapshot}`
      : `pars rm --yes ${worst.snapshot}`;
  if (worst) return `${again}   (where this host still has the image, it is stored again)`;
  if (bad.some((one) => ['unreachable', 'refused'].includes(worstFault(one) ?? '')))
    return `pars store status, and once every location can be reached: ${again}`;
  if (!bad.some((one) => findingsOf(one).some(({ condition }) => condition !== 'intact'))) return null;
  return bad.some(({ repair }) => repair) ? 'pars store status' : `${again}   (makes the copies again)`;
}

function has(one: Verification, condition: Condition, critical?: boolean): boolean {
  return findingsOf(one).some(
    (finding) => finding.condition === condition && (critical === undefined || finding.critical === critical),
  );
}

function findingsOf({ health }: Verification): readonly ObjectFinding[] {
  return health?.findings ?? [];
}
