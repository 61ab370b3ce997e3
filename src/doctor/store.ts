// SPDX-License-Identifier: Apache-2.0
/**
 * The store: can it be reached, does it take as many copies as the policy wants and give them back, what does
 * it warn of.
 */
import { randomBytes } from 'node:crypto';
import { bestEffort } from '../system/best-effort.js';
import { describePlacement, placementWarning } from '../health/placement.js';
import type { Policy } from '../policy/policy.js';
import { putProved } from '../stores/proved-object.js';
import type { ObjectTerms, Placement, Store } from '../stores/store.js';
import { type Check, checked, failure, ok, warning } from './check.js';

const PROBE_BYTES = 4096;
/** Below this a save of any guest is in danger. */
const LITTLE = 4 * 2 ** 30;

export async function checkStore(
  store: Store,
  policy: Policy,
  formatBytes: (bytes: number) => string,
): Promise<Check[]> {
  const status = await store.status();
  const places = `${store.url}: ${status.usablePlaces} of ${status.places} places usable`;
  const checks = [
    status.usablePlaces < status.places
      ? failure('store', 'unreachable', places, status.warnings[0] ?? 'see: pars store status')
      : ok('store', places),
    ...(status.facts ?? []).map((text) => ok('store', text)),
    ...status.warnings.map((text) => warning('store', text, 'see: pars store status')),
  ];
  const placement = await writeAndRead(store, { copies: policy.criticalCopies, critical: true });
  checks.push(ok('store writable', `wrote ${policy.criticalCopies} copies, proved them, removed them`));
  if (placement) checks.push(checkPlacement(placement));
  const { coding } = policy;
  if (coding !== undefined)
    checks.push(...(await checked('erasure coding', () => checkCoding(store, coding))));
  checks.push(
    status.freeBytes === null
      ? warning('store room', 'the store does not say what room it has', 'look at it there: hdfs dfs -df')
      : room('store room', status.freeBytes, 'all places together', formatBytes),
  );
  return checks;
}

/**
 * A revert of a running guest ends it before any hook is asked: it is better not begun while the store is
 * away.
 */
export async function checkReverts(memories: number, open: () => Promise<Store>): Promise<Check[]> {
  if (memories === 0) return [];
  const found = `the memory of ${memories} of libvirt's snapshots is in the store`;
  const why = await whyAway(open);
  if (why === null) return [ok('reverts', found)];
  const outcome = 'a revert would end the running guest first, and then fail';
  return [
    warning(
      'reverts',
      `${found}, which cannot be reached now (${why}): ${outcome}`,
      'revert to none until it is back',
    ),
  ];
}

/** Null when the store answers. */
async function whyAway(open: () => Promise<Store>): Promise<string | null> {
  try {
    const store = await open();
    await store.status().finally(() => store.close());
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

export function room(
  name: string,
  freeBytes: number,
  where: string,
  formatBytes: (bytes: number) => string,
): Check {
  const found = `${formatBytes(freeBytes)} free, ${where}`;
  return freeBytes < LITTLE
    ? warning(name, found, 'see what the next saves need with: pars plan')
    : ok(name, found);
}

/**
 * The policy wants critical data coded: the store can, its servers are enough, and a coded object is proved.
 */
async function checkCoding(store: Store, coding: string): Promise<Check> {
  if (!store.refuseCoding)
    return failure(
      'erasure coding',
      'refused',
      `${store.url} keeps copies only, and the policy wants ${coding}`,
      'name copies of critical classes in the policy, or a store in HDFS',
    );
  await store.refuseCoding(coding);
  await writeAndRead(store, { copies: 1, critical: true, coding });
  return ok('erasure coding', `wrote an object as ${coding}, proved it, removed it`);
}

/**
 * A small object, the way critical data is stored: what cannot be proved here cannot be proved of a snapshot
 * either.
 */
async function writeAndRead(store: Store, terms: ObjectTerms): Promise<Placement | undefined> {
  const name = `pars-doctor-${randomBytes(8).toString('hex')}`;
  let placement: Placement | undefined;
  try {
    const object = await putProved(store, name, terms, randomBytes(PROBE_BYTES));
    placement = (await store.inspect(object, { read: false })).placement;
  } catch (error) {
    await bestEffort(store.remove(name));
    throw error;
  }
  await store.remove(name);
  return placement;
}

/** Where what was just written came to lie: what is stored of guests comes to lie likewise. */
function checkPlacement(placement: Placement): Check {
  const found = `critical data is kept as ${describePlacement(placement)}`;
  const why = placementWarning(placement);
  return why === null
    ? ok('store placement', found)
    : warning('store placement', `${found}: ${why}`, 'see which snapshots lie so: pars verify --percent 0');
}
