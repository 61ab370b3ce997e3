// SPDX-License-Identifier: Apache-2.0
/** Many reports as a table: one line a guest, a broken image among them, and the total. */
import type { ImageReport } from '../report/report.js';
import { bytesByFate, type ReportOutcome, type ReportTotal } from '../report/report-summary.js';
import type { Colours } from './colours.js';
import { plain } from '../system/plain-text.js';
import { type Column, renderTable } from './table.js';
import { formatBytes } from './units.js';
import { counted } from '../system/counted.js';

export function renderLines(
  outcomes: readonly ReportOutcome[],
  total: ReportTotal,
  policy: string,
  colours: Colours,
): string {
  const columns: Column[] = [
    { heading: 'GUEST' },
    { heading: 'KERNEL' },
    { heading: 'IMAGE', align: 'right' },
    { heading: 'CRITICAL', align: 'right' },
    { heading: 'EXPENDABLE', align: 'right' },
    { heading: 'REPLICATE-ALL', align: 'right' },
    { heading: plain(policy).toUpperCase(), align: 'right' },
  ];
  const rows = outcomes.map((outcome) =>
    'report' in outcome
      ? guestRow(outcome.report, policy)
      : [colours.red('not readable'), plain(outcome.error.message)],
  );
  const { guests, failed } = total;
  const title =
    failed === 0 ? counted(guests, 'guest') : `${counted(guests, 'guest')}, ${failed} not readable`;
  const sums = [
    total.imageBytes,
    total.criticalBytes,
    total.expendableBytes,
    total.policies['replicate-all'] ?? 0,
    total.policies[policy] ?? 0,
  ];
  rows.push([colours.bold(title), '', ...sums.map(formatBytes)]);
  return renderTable(columns, rows, colours);
}

function guestRow(report: ImageReport, policy: string): string[] {
  const { image, guest, policies } = report;
  const { critical, expendable } = bytesByFate(report);
  const bytes = [
    image.bytes,
    critical,
    expendable,
    policies['replicate-all']?.storedBytes ?? 0,
    policies[policy]?.storedBytes ?? 0,
  ];
  return [
    plain(image.domain.name),
    guest.introspected ? plain(guest.kernel ?? '') : 'not introspected',
    ...bytes.map(formatBytes),
  ];
}
