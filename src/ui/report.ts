// SPDX-License-Identifier: Apache-2.0
/** The report as text. What is exact and what is estimated is told apart in the headings. */
import { PAGE_BYTES, PAGE_CLASSES } from '../page-classes.js';
import type { Durability } from '../report/durability.js';
import { headlineOf } from '../report/headline.js';
import { type ImageReport, policyOrder } from '../report/report.js';
import { bytesOnDisks } from '../report/report-summary.js';
import { CLASS_MEANINGS, REST_MEANING } from './class-meanings.js';
import type { Colours } from './colours.js';
import { renderFiles } from './explain.js';
import { lostCells, rereadCells } from './html/page-losses.js';
import { plain } from '../system/plain-text.js';
import { renderMap } from './terminal-map.js';
import { type Column, renderPairs, renderTable } from './table.js';
import { formatBytes, formatCount, formatShare } from './units.js';
import { wrap } from './wrap.js';

const UNKNOWN = '-';
/** No line is longer, but for a name or a path that is. */
const WIDTH = 100;

/** Where and when a report was made. */
export interface Made {
  host: string;
  when: Date;
}

/** `width`: of the terminal, for the map. */
export function renderReport(report: ImageReport, colours: Colours, width = 80, made?: Made): string {
  const parts = [
    renderPairs(head(report, made), colours),
    headline(report, colours),
    classTable(report, colours),
    classLines(report, colours),
    policyTable(report, colours),
    ...lossTables(report, colours),
    wrap(LOSSES_EXPLAINED, WIDTH),
  ];
  const map = report.map ? renderMap(report.map, Math.min(width, WIDTH), colours) : '';
  if (map !== '') parts.splice(2, 0, map);
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

function head({ image, guest, ram, estimated }: ImageReport, made?: Made): [string, string][] {
  const kernel = guest.introspected
    ? `Linux ${plain(guest.kernel ?? 'unknown')}`
    : `not introspected, so every page is critical: ${plain(guest.reason ?? 'no reason given')}`;
  const moving: [string, string][] = estimated
    ? [['estimate', 'the guest was running, so all figures are estimates']]
    : [];
  const when = made?.when.toISOString().replace('T', ' ').slice(0, 16);
  const pairs: [string, string][] = [
    ...moving,
    ['guest', `${plain(image.domain.name)} (${plain(image.domain.uuid)})`],
    ...(made ? [['report', `made on ${plain(made.host)}, ${when} UTC`] as [string, string]] : []),
    [
      estimated ? 'would be' : 'image',
      `${plain(image.path)} (${formatBytes(image.bytes)}, `
        + plain(image.format)
        + `${image.rawBytes === undefined ? '' : `, unpacked ${formatBytes(image.rawBytes)}`})`,
    ],
    ['kernel', kernel],
    [
      'ram',
      `${formatBytes(ram.pages * ram.pageSize)}, of which ${formatBytes(ram.zeroPages * ram.pageSize)} zero`,
    ],
  ];
  const indent = Math.max(...pairs.map(([key]) => key.length)) + 2;
  return pairs.map(([key, value]) => [
    key,
    wrap(value, WIDTH - indent).replaceAll('\n', `\n${' '.repeat(indent)}`),
  ]);
}

/** What would be stored, beside what people do today: like with like. */
function headline(report: ImageReport, colours: Colours): string {
  const columns: Column[] = [
    { heading: 'STORED, ALL COPIES, COMPRESSED' },
    { heading: 'ESTIMATE', align: 'right' },
    { heading: '' },
  ];
  const rows = headlineOf(report).map(({ name, estimatedBytes, saved }, i) =>
    i === 0
      ? [colours.bold(`by Pars, under ${plain(name)}`), colours.bold(estimate(estimatedBytes)), '']
      : [name, estimate(estimatedBytes), saved === null ? '' : versus(saved)],
  );
  return renderTable(columns, rows, colours);
}

function versus(saved: number): string {
  return saved >= 0 ? `Pars stores ${formatShare(saved)} less` : `Pars stores ${formatShare(-saved)} more`;
}

function classTable(report: ImageReport, colours: Colours): string {
  const columns: Column[] = [
    { heading: 'CLASS' },
    { heading: 'PAGES', align: 'right' },
    { heading: 'OF ALL', align: 'right' },
    { heading: 'BYTES (EXACT)', align: 'right' },
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

function classLines({ classes }: ImageReport, colours: Colours): string {
  const present = PAGE_CLASSES.filter((name) => classes[name].pages > 0);
  return renderPairs(
    [...present.map((name): [string, string] => [name, CLASS_MEANINGS[name]]), ['(no pages)', REST_MEANING]],
    colours,
  );
}

function policyTable({ policies, natives, policy: current }: ImageReport, colours: Colours): string {
  const columns: Column[] = [
    { heading: 'POLICY' },
    { heading: 'COMPRESSED (ESTIMATE)', align: 'right' },
    { heading: 'SAVED', align: 'right' },
    { heading: 'UNCOMPRESSED (EXACT)', align: 'right' },
    { heading: 'SAVED', align: 'right' },
    { heading: '' },
  ];
  const rows = policyOrder({ policies }).flatMap((name) => {
    const policy = policies[name];
    if (!policy) return [];
    const cells = [
      estimate(policy.estimatedCompressedBytes),
      policy.estimatedSavedVsReplicateAll === null ? '' : formatShare(policy.estimatedSavedVsReplicateAll),
      formatBytes(policy.storedBytes),
      formatShare(policy.savedVsReplicateAll),
    ];
    return [
      name === current ? [colours.bold(plain(name)), ...cells, 'configured'] : [plain(name), ...cells, ''],
    ];
  });
  const { threeCopies, estimatedThreeCopiesOfZstd, estimatedRs63OfZstd, rs63 } = natives;
  const native = (name: string, compressed: number | null, bytes: number): string[] => [
    colours.dim(name),
    estimate(compressed),
    '',
    formatBytes(bytes),
    '',
    'without Pars',
  ];
  rows.push(native('3 x image', estimatedThreeCopiesOfZstd, threeCopies));
  rows.push(native('RS-6-3 image', estimatedRs63OfZstd, rs63));
  return renderTable(columns, rows, colours);
}

const LOSSES_EXPLAINED =
  'The guest is lost when a critical block had all its copies on the disks that died. Left out are disks '
  + 'that die together (power, a batch, a person) and defects of software, which are commoner than '
  + 'small chances here: read them as a comparison of policies, not as a promise (docs/reports.md, '
  + '"Losses").';

/** When disks die, and within a year: what is lost, and what the guest reads again. */
function lossTables(report: ImageReport, colours: Colours): string[] {
  const { durabilityInputs: inputs, natives, policies, policy: current } = report;
  const rows = [
    ...policyOrder(report).map((name) => [name, policies[name]?.durability] as const),
    ['3 x image', natives.durability.threeCopies] as const,
    ['RS-6-3 image', natives.durability.rs63] as const,
  ];
  const right = (heading: string): Column => ({ heading, align: 'right' });
  const dead = ['1 DEAD', '2 DEAD', '3 DEAD'].map(right);
  const table = (columns: Column[], cellsOf: (durability: Durability) => string[]): string =>
    renderTable(
      columns,
      rows.flatMap(([name, durability]) => {
        const shown = name === current ? colours.bold(plain(name)) : plain(name);
        return durability ? [[shown, ...cellsOf(durability)]] : [];
      }),
      colours,
    );
  const lost = table(
    [{ heading: `GUEST LOST IF, OF ${inputs.disks} DISKS,` }, ...dead, right('IN A YEAR (ESTIMATE)')],
    lostCells,
  );
  const again = table([{ heading: 'AND READS AGAIN' }, ...dead], (durability) =>
    rereadCells(durability, formatBytes),
  );
  const rereads = rows.some(([, durability]) => durability?.whenDead.some(({ rereadBytes }) => rereadBytes));
  return rereads ? [lost, again] : [lost];
}

function rereadLine({ reread }: ImageReport): string {
  return wrapped(
    `All clean-cache lost: the guest reads up to ${formatBytes(reread.bytes)} again from its own `
      + `disk, in up to ${formatCount(reread.requests)} requests, as it needs them.`,
  );
}

function onDisksLine(bytes: number): string {
  return wrapped(
    `The guest's own disks hold ${formatBytes(bytes)} of it, byte for byte: lean and minimal `
      + `leave that there, and the guest reads none of it again. A guest `
      + `whose disk is lost is lost anyway.`,
  );
}

function noteTable({ notes }: ImageReport, colours: Colours): string {
  const columns: Column[] = [{ heading: 'WHY NOT EXPENDABLE' }, { heading: 'PAGES', align: 'right' }];
  return renderTable(
    columns,
    notes.map(({ text, pages }) => [wrap(plain(text), WIDTH - 12), formatCount(pages)]),
    colours,
  );
}

function wrapped(text: string): string {
  return wrap(text, WIDTH);
}

function uncomparedLines({ uncomparedDisks }: ImageReport): string {
  return [
    ...uncomparedDisks.map(plain),
    'Every policy keeps the clean cache of this guest, and a start is refused unless that is accepted '
      + '(docs/disks.md).',
  ]
    .map(wrapped)
    .join('\n');
}

function estimate(bytes: number | null): string {
  return bytes === null ? UNKNOWN : `~ ${formatBytes(bytes)}`;
}
