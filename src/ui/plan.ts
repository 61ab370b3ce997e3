// SPDX-License-Identifier: Apache-2.0
/** The plan as text: a line a guest, what there is, and whether it fits. */
import type { Plan, PlannedGuest } from '../report/plan.js';
import type { Colours } from './colours.js';
import { plain } from '../system/plain-text.js';
import { renderTable } from './table.js';
import { formatBytes } from './units.js';
import { counted } from '../system/counted.js';

export function renderPlan(plan: Plan, colours: Colours): string {
  const { guests, total, policy } = plan;
  const columns = [
    'GUEST',
    'RAM',
    'PEAK OF A SAVE',
    'THEN HERE',
    `IN THE STORE (${plain(policy).toUpperCase()})`,
    'COMPRESSED',
  ].map((heading, i) => ({ heading, align: i === 0 ? ('left' as const) : ('right' as const) }));
  const rows = guests.map((guest) => cells(guest, policy));
  const sums = total.policies[policy];
  rows.push([
    colours.bold(`${counted(guests.length, 'guest')} at once`),
    '',
    formatBytes(total.peakBytes),
    formatBytes(total.localBytes),
    formatBytes(sums?.storedBytes ?? 0),
    estimate(sums?.estimatedCompressedBytes ?? null),
  ]);
  const problems = guests
    .filter(({ problem }) => problem !== null)
    .map(
      ({ name, problem }) =>
        `${plain(name)} could not be read, and is planned for at its worst: ${plain(problem ?? '')}`,
    );
  return [
    renderTable(columns, rows, colours),
    '',
    ...policyLines(plan),
    '',
    ...problems,
    ...conclusions(plan, colours),
    colours.dim('Estimates of guests that run: they write on meanwhile.'),
  ].join('\n');
}

function cells(
  { name, ramBytes, peakBytes, localBytes, policies, problem }: PlannedGuest,
  policy: string,
): string[] {
  const { storedBytes = 0, estimatedCompressedBytes = null } = policies[policy] ?? {};
  return [
    `${plain(name)}${problem === null ? '' : ' (not read)'}`,
    formatBytes(ramBytes),
    formatBytes(peakBytes),
    formatBytes(localBytes),
    formatBytes(storedBytes),
    estimate(estimatedCompressedBytes),
  ];
}

function policyLines({ total, policy }: Plan): string[] {
  const others = Object.entries(total.policies).filter(([name]) => name !== policy);
  const bytes = others.map(([name, { storedBytes }]) => `${plain(name)} ${formatBytes(storedBytes)}`);
  return others.length === 0 ? [] : [`Under other policies the store would hold: ${bytes.join(', ')}.`];
}

function conclusions({ total, saveDir, store, fits, policy }: Plan, colours: Colours): string[] {
  const says = (fit: boolean): string => (fit ? colours.green('fits') : colours.red('does not fit'));
  const lines = [
    `${says(fits.save)}: ${formatBytes(total.peakBytes)} of saves into `
      + `${formatBytes(saveDir.freeBytes)} free in ${plain(saveDir.where)}`,
  ];
  if (!fits.save)
    lines.push(
      fits.saveOneByOne
        ? '  One after the other they do: save a guest, wait until it is a stub (pars status), '
            + 'then save the next.'
        : `  Not one after the other either: the largest needs ${formatBytes(total.largestPeakBytes)}.`,
    );
  if (store === null)
    return [...lines, 'No store is configured: what it would have to hold is in the table.'];
  const stored = total.policies[policy],
    needs = stored?.storedBytes ?? 0,
    compressed = stored?.estimatedCompressedBytes ?? null;
  if (store.freeBytes === null)
    return [
      ...lines,
      `unknown: ${formatBytes(needs)} under ${plain(policy)} into ${plain(store.where)}, which does not `
        + `say what room it has`,
    ];
  lines.push(
    `${says(fits.store !== false)}: ${formatBytes(needs)} under ${plain(policy)} into `
      + `${formatBytes(store.freeBytes)} free in ${plain(store.where)}`,
  );
  if (fits.store === false && compressed !== null && compressed <= store.freeBytes)
    lines.push(
      `  It would if it compresses as estimated (to ${formatBytes(compressed)}), which nobody can promise.`,
    );
  return lines;
}

function estimate(bytes: number | null): string {
  return bytes === null ? '-' : `~ ${formatBytes(bytes)}`;
}
