/** The report as text. What is exact and what is estimated is told apart in the headings. */
import { PAGE_CLASSES } from '../page-classes.js';
import { PRESETS } from '../policy.js';
import type { ImageReport } from '../report.js';
import type { Colours } from './colours.js';
import { plain } from './plain.js';
import { type Column, renderPairs, renderTable } from './table.js';
import { formatBytes, formatCount, formatShare } from './units.js';

const UNKNOWN = '-';

export function renderReport(report: ImageReport, colours: Colours): string {
  const parts = [renderPairs(head(report), colours), classTable(report, colours), policyTable(report, colours)];
  if (report.notes.length > 0) parts.push(noteTable(report, colours));
  if (report.reread.requests > 0) parts.push(rereadLine(report));
  parts.push(colours.dim('Exact: bytes before compression. Estimate: after zstd, from samples of each class.'));
  return parts.join('\n\n');
}

function head({ image, guest, ram }: ImageReport): [string, string][] {
  const kernel = guest.introspected ? `Linux ${plain(guest.kernel ?? 'unknown')}` : `not introspected, so every page is critical: ${plain(guest.reason ?? 'no reason given')}`;
  return [
    ['image', `${plain(image.path)} (${formatBytes(image.bytes)}, ${plain(image.format)})`],
    ['guest', `${plain(image.domain.name)} (${plain(image.domain.uuid)})`],
    ['kernel', kernel],
    ['ram', `${formatBytes(ram.pages * ram.pageSize)}, of which ${formatBytes(ram.zeroPages * ram.pageSize)} zero`],
  ];
}

function classTable(report: ImageReport, colours: Colours): string {
  const columns: Column[] = [
    { heading: 'CLASS' },
    { heading: 'PAGES', align: 'right' },
    { heading: 'OF ALL', align: 'right' },
    { heading: 'IN IMAGE (EXACT)', align: 'right' },
    { heading: 'COMPRESSED (ESTIMATE)', align: 'right' },
    { heading: 'IF LOST' },
  ];
  const all = PAGE_CLASSES.reduce((sum, name) => sum + report.classes[name].pages, 0);
  const rows = PAGE_CLASSES.filter((name) => report.classes[name].pages > 0).map((name) => {
    const { pages, rawBytes, estimatedCompressedBytes, expendable } = report.classes[name];
    const loss = expendable ? colours.green('expendable') : 'critical';
    return [name, formatCount(pages), formatShare(pages / all), formatBytes(rawBytes), estimate(estimatedCompressedBytes), loss];
  });
  const { rawBytes, estimatedCompressedBytes } = report.skeleton;
  rows.push([colours.dim('(no pages)'), '', '', formatBytes(rawBytes), estimate(estimatedCompressedBytes), 'critical']);
  return renderTable(columns, rows, colours);
}

function policyTable({ policies, natives, policy: current }: ImageReport, colours: Colours): string {
  const columns: Column[] = [
    { heading: 'POLICY' },
    { heading: 'ALL COPIES (EXACT)', align: 'right' },
    { heading: 'SAVED', align: 'right' },
    { heading: 'COMPRESSED (ESTIMATE)', align: 'right' },
    { heading: '' },
  ];
  const order = [...PRESETS, ...Object.keys(policies).filter((name) => !(PRESETS as readonly string[]).includes(name))];
  const rows = order.flatMap((name) => {
    const policy = policies[name];
    if (!policy) return [];
    const cells = [formatBytes(policy.storedBytes), formatShare(policy.savedVsReplicateAll), estimate(policy.estimatedCompressedBytes)];
    return [name === current ? [colours.bold(plain(name)), ...cells, 'configured'] : [plain(name), ...cells, '']];
  });
  const { threeCopies, estimatedThreeCopiesOfZstd, rs63 } = natives;
  rows.push([colours.dim('3 x image'), formatBytes(threeCopies), '', '', 'native']);
  rows.push([colours.dim('3 x zstd image'), UNKNOWN, '', estimate(estimatedThreeCopiesOfZstd), 'native']);
  rows.push([colours.dim('RS-6-3 image'), formatBytes(rs63), '', '', 'native']);
  return renderTable(columns, rows, colours);
}

function rereadLine({ reread }: ImageReport): string {
  return `All clean-cache lost: the guest reads up to ${formatBytes(reread.bytes)} again from its own disk, in up to ${formatCount(reread.requests)} requests, as it needs them.`;
}

function noteTable({ notes }: ImageReport, colours: Colours): string {
  const columns: Column[] = [{ heading: 'WHY NOT EXPENDABLE' }, { heading: 'PAGES', align: 'right' }];
  return renderTable(columns, notes.map(({ text, pages }) => [plain(text), formatCount(pages)]), colours);
}

function estimate(bytes: number | null): string {
  return bytes === null ? UNKNOWN : `~ ${formatBytes(bytes)}`;
}
