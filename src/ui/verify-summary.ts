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
  const moved = found.filter(({ disks }) => disks?.error).length;
  if (moved > 0)
    return (
      `The guest's own disks do not hold what ${counted(moved, 'snapshot')} left to them: `
      + 'a start is refused.'
    );
  const away = found.filter((one) => has(one, 'unreachable')).length;
  if (away > 0)
    return `Data of ${counted(away, 'snapshot')} cannot be reached now; nothing of it is known to be lost.`;
  const all = found.flatMap(findingsOf);
  const rest = all.every(({ read }) => read)
    ? ''
    : ' Of what was not read only presence and size were checked.';
  const onDisks = found.reduce((sum, one) => sum + unreadOnDisks(one), 0);
  return `${inStore(all, rest, onDisks > 0 ? ' in the store' : '')}${notRead(onDisks)}`;
}

/** Pages that are on the guest's own disks only, and were not looked at there. */
function unreadOnDisks({ health, disks = null }: Verification): number {
  const pages = health?.manifest.references?.pages ?? 0;
  return disks === null || disks.skipped !== null ? pages : 0;
}

function notRead(pages: number): string {
  return pages === 0 ? '' : ` ${formatCount(pages)} pages on guests' own disks were not read (--disks).`;
}

function inStore(all: readonly ObjectFinding[], rest: string, where: string): string {
  const pages = all.flatMap(({ lost: frames }) => frames).reduce((sum, frame) => sum + frame.pages, 0);
  if (pages === 0) return `All data${where} ${rest === '' ? '' : 'that was read '}is still readable.${rest}`;
  return (
    `All critical data${where} ${rest === '' ? '' : 'that was read '}is still readable; `
    + `${formatCount(pages)} expendable `
    + `pages are in no copy, and guests read what they need of them from their disks.${rest}`
  );
}

function nextStep(found: readonly Verification[], again: string): string | null {
  const bad = found.filter((one) => one.health === null || has(one));
  const [worst] = bad.filter((one) => has(one, 'lost', true));
  if (worst?.repair)
    return worst.storedAnew === null
      ? `bring the store's missing disks back, or give the snapshot up: pars rm --yes ${worst.snapshot}`
      : `pars rm --yes ${worst.snapshot}`;
  if (worst) return `${again}   (where this host still has the image, it is stored again)`;
  if (bad.some((one) => ['unreachable', 'refused'].includes(worstFault(one) ?? '')))
    return `pars store status, and once every location can be reached: ${again}`;
  if (!bad.some((one) => has(one))) return null;
  return bad.some(({ repair }) => repair) ? 'pars store status' : `${again}   (makes the copies again)`;
}

/** Anything in the store that is not intact, or what is in that condition. */
function has(one: Verification, condition?: Condition, critical?: boolean): boolean {
  return findingsOf(one).some(
    (finding) =>
      (condition === undefined ? finding.condition !== 'intact' : finding.condition === condition)
      && (critical === undefined || finding.critical === critical),
  );
}

function findingsOf({ health }: Verification): readonly ObjectFinding[] {
  return health?.findings ?? [];
}
