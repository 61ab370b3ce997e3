// SPDX-License-Identifier: Apache-2.0
/** The report as text. What is exact and what is estimated is told apart in the headings. */
import { PAGE_BYTES, PAGE_CLASSES } from '../page-classes.js';
import { type ImageReport, policyOrder } from '../report/report.js';
import { bytesOnDisks } from '../report/report-summary.js';
import type { Colours } from './colours.js';
import { renderFiles } from './explain.js';
import { lossCells } from './html/page-losses.js';
import { plain } from '../system/plain-text.js';
import { renderMap } from './terminal-map.js';
import { type Column, renderPairs, renderTable } from './table.js';
import { formatBytes, formatCount, formatShare } from './units.js';

const UNKNOWN = '-';

/** `width`: of the terminal, for the map. */
export function renderReport(report: ImageReport, colours: Colours, width = 80): string {
  const parts = [
    renderPairs(head(report), colours),
    classTable(report, colours),
    policyTable(report, colours),
    lossTable(report, colours),
  ];
  const map = report.map ? renderMap(report.map, width, colours) : '';
  if (map !== '') parts.splice(1, 0, map);
  if (report.files && report.files.length > 0) parts.push(renderFiles(report.files, colours));
  if (report.notes.length > 0) parts.push(noteTable(report, colours));
  if (report.uncomparedDisks.length > 0) parts.push(uncomparedLines(report));
  if (report.reread.requests > 0) parts.push(rereadLine(report));
  const onDisks = bytesOnDisks(report);
  if (onDisks !== null) parts.push(onDisksLine(onDisks));
  parts.push(
    colours.dim('Exact: bytes before compression. Estimate: after zstd, from samples of each class.'),
  );
  return parts.join('\n\n');
}

function head({ image, guest, ram, estimated }: ImageReport): [string, string][] {
  const kernel = guest.introspected
    ? `Linux ${plain(guest.kernel ?? 'unknown')}`
    : `not introspected, so every page is critical: ${plain(guest.reason ?? 'no reason given')}`;
  const moving: [string, string][] = estimated
    ? [['estimate', 'the guest was running, so all figures are estimates']]
    : [];
  return [
    ...moving,
    [
      estimated ? 'would be' : 'image',
      `${plain(image.path)} (${formatBytes(image.bytes)}, `
        + plain(image.format)
        + `${image.rawBytes === undefined ? '' : `, unpacked ${formatBytes(image.rawBytes)}`})`,
    ],
    ['guest', `${plain(image.domain.name)} (${plain(image.domain.uuid)})`],
    ['kernel', kernel],
    [
      'ram',
      `${formatBytes(ram.pages * ram.pageSize)}, of which ${formatBytes(ram.zeroPages * ram.pageSize)} zero`,
    ],
  ];
}

function classTable(report: ImageReport, colours: Colours): string {
  const columns: Column[] = [
    { heading: 'CLASS' },
    { heading: 'PAGES', align: 'right' },
    { heading: 'OF ALL', align: 'right' },
    { heading: 'IN IMAGE (EXACT)', align: 'right' },
    { heading: 'COMPRESSED (ESTIMATE)', align: 'right' },
    ...(report.onDisks ? [{ heading: 'ON ITS DISKS', align: 'right' as const }] : []),
    { heading: 'IF LOST' },
  ];
  const onDisks = (pages: number | undefined): string[] =>
    report.onDisks ? [pages ? formatBytes(pages * PAGE_BYTES) : ''] : [];
  const all = PAGE_CLASSES.reduce((sum, name) => sum + report.classes[name].pages, 0);
  const rows = PAGE_CLASSES.filter((name) => report.classes[name].pages > 0).map((name) => {
    const { pages, rawBytes, estimatedCompressedBytes, expendable } = report.classes[name];
    const loss = expendable ? colours.green('expendable') : 'critical';
    return [
      name,
      formatCount(pages),
      formatShare(pages / all),
      formatBytes(rawBytes),
      estimate(estimatedCompressedBytes),
      ...onDisks(report.onDisks?.[name]),
      loss,
    ];
  });
  const { rawBytes, estimatedCompressedBytes } = report.skeleton;
  rows.push([
    colours.dim('(no pages)'),
    '',
    '',
    formatBytes(rawBytes),
    estimate(estimatedCompressedBytes),
    ...onDisks(undefined),
    'critical',
  ]);
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
  const rows = policyOrder({ policies }).flatMap((name) => {
    const policy = policies[name];
    if (!policy) return [];
    const cells = [
      formatBytes(policy.storedBytes),
      formatShare(policy.savedVsReplicateAll),
      estimate(policy.estimatedCompressedBytes),
    ];
    return [
      name === current ? [colours.bold(plain(name)), ...cells, 'configured'] : [plain(name), ...cells, ''],
    ];
  });
  const { threeCopies, estimatedThreeCopiesOfZstd, rs63 } = natives;
  rows.push([colours.dim('3 x image'), formatBytes(threeCopies), '', '', 'native']);
  rows.push([colours.dim('3 x zstd image'), UNKNOWN, '', estimate(estimatedThreeCopiesOfZstd), 'native']);
  rows.push([colours.dim('RS-6-3 image'), formatBytes(rs63), '', '', 'native']);
  return renderTable(columns, rows, colours);
}

/** When disks die, and within a year. */
function lossTable(report: ImageReport, colours: Colours): string {
  const { durabilityInputs: inputs, natives, policies, policy: current } = report;
  const rows = [
    ...policyOrder(report).map((name) => [name, policies[name]?.durability] as const),
    ['3 x image', natives.durability.threeCopies] as const,
    ['RS-6-3 image', natives.durability.rs63] as const,
  ];
  const columns: Column[] = [
    { heading: `IF DISKS DIE, OF ${inputs.disks}` },
    ...['1 DEAD', '2 DEAD', '3 DEAD', 'GUEST LOST IN A YEAR (ESTIMATE)'].map((heading): Column => ({
      heading,
      align: 'right',
    })),
  ];
  return renderTable(
    columns,
    rows.flatMap(([name, durability]) =>
      durability
        ? [
            [
              name === current ? colours.bold(plain(name)) : plain(name),
              ...lossCells(durability, formatBytes),
            ],
          ]
        : [],
    ),
    colours,
  );
}

function rereadLine({ reread }: ImageReport): string {
  return (
    `All clean-cache lost: the guest reads up to ${formatBytes(reread.bytes)} again from its own `
    + `disk, in up to ${formatCount(reread.requests)} requests, as it needs them.`
  );
}

function onDisksLine(bytes: number): string {
  return (
    `The guest's own disks hold ${formatBytes(bytes)} of it, byte for byte: lean and minimal `
    + `leave that there, and the guest reads none of it again. A guest `
    + `whose disk is lost is lost anyway.`
  );
}

function noteTable({ notes }: ImageReport, colours: Colours): string {
  const columns: Column[] = [{ heading: 'WHY NOT EXPENDABLE' }, { heading: 'PAGES', align: 'right' }];
  return renderTable(
    columns,
    notes.map(({ text, pages }) => [plain(text), formatCount(pages)]),
    colours,
  );
}

function uncomparedLines({ uncomparedDisks }: ImageReport): string {
  return [
    ...uncomparedDisks.map(plain),
    'Every policy keeps the clean cache of this guest, and a start is refused unless that is accepted '
      + '(docs/disks.md).',
  ].join('\n');
}

function estimate(bytes: number | null): string {
  return bytes === null ? UNKNOWN : `~ ${formatBytes(bytes)}`;
}
