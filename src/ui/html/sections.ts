// SPDX-License-Identifier: Apache-2.0
/** The sections of the HTML report. Every figure is in a table, whatever is drawn beside it. */
import { EXPENDABLE, PAGE_BYTES, PAGE_CLASSES } from '../../page-classes.js';
import type { ImageReport, LaidOut } from '../../report/report.js';
import { headlineOf } from '../../report/headline.js';
import { policyOrder } from '../../report/report.js';
import { bytesOnDisks } from '../../report/report-summary.js';
import { CLASS_MEANINGS, REST_MEANING } from '../class-meanings.js';
import { formatBytes, formatCount, formatShare } from '../units.js';
import { lossCells } from './page-losses.js';
import { esc, rows } from './text.js';

export function figures(report: ImageReport, fate: { critical: number; expendable: number }): string {
  const all = fate.critical + fate.expendable;
  const figure = (value: string, text: string): string => `<li><b>${esc(value)}</b>${esc(text)}</li>`;
  return `<ul class="figures">${[
    figure(
      formatBytes(report.image.bytes),
      `${report.estimated ? 'would be saved' : 'image'}, of `
        + `${formatBytes(report.ram.pages * PAGE_BYTES)} RAM`,
    ),
    figure(formatBytes(fate.critical), 'critical: the guest dies without it'),
    figure(
      formatBytes(fate.expendable),
      `expendable: ${formatShare(all === 0 ? 0 : fate.expendable / all)} of the image`,
    ),
  ].join('')}</ul>`;
}

/** What would be stored, beside what people do today: like with like. */
export function headlineSection(report: ImageReport): string {
  const shown = headlineOf(report);
  const most = Math.max(1, ...shown.map(({ estimatedBytes }) => estimatedBytes ?? 0));
  const body = rows(shown, ({ name, estimatedBytes, saved }) => {
    const own = name === report.policy;
    const width = ((100 * (estimatedBytes ?? 0)) / most).toFixed(3);
    const bar = barCell(own ? 'expendable' : 'native', width);
    const against =
      saved === null ? '' : `Pars stores ${formatShare(Math.abs(saved))} ${saved >= 0 ? 'less' : 'more'}`;
    return row(own ? `by Pars, under ${esc(name)}` : name, [estimate(estimatedBytes), against], '', bar);
  });
  const head = ['Stored as', BAR_HEAD, 'Estimate', 'Against it'];
  return `<section aria-labelledby="h-headline"><h2 id="h-headline">What would be stored</h2>
${table('policies', 'All copies together, compressed', head, body)}</section>`;
}

export function mapSection({ map, classes, estimated }: ImageReport): string {
  if (!map || map.segments.length === 0)
    return (
      `<section aria-labelledby="h-map"><h2 id="h-map">Memory map</h2><p>There is none: the layout `
      + `of this guest\u2019s memory is not known.</p></section>`
    );
  const total = map.segments.reduce((sum, { bytes }) => sum + bytes, 0);
  const present = PAGE_CLASSES.filter((name) => classes[name].pages > 0 && name !== 'device');
  const legend = rows(
    present,
    (name) =>
      `<li><button type="button" aria-pressed="false" `
      + `data-class="${name}">${swatch(name)}${name}</button></li>`,
  );
  return `<section aria-labelledby="h-map"><h2 id="h-map">Memory map</h2>
<p class="soft">Guest-physical memory${estimated ? ' at one moment' : ''}, from address 0 at the top left,
row by row. Point at it, or move with the arrow keys. Choose a class to see it alone.</p>
<div class="map"><canvas id="map" tabindex="0" role="application" aria-roledescription="memory map"
aria-label="Memory map of ${formatBytes(total)}: arrow keys move, the line below says what is there"
aria-describedby="where"></canvas><div id="tip" hidden></div></div>
<output id="where" aria-live="polite" class="soft">One square is one cell of
${formatBytes(map.cellPages * PAGE_BYTES)} or several of them, in the colour of the class that most of its
pages have.</output>
<ul class="legend" aria-label="Classes">${legend}</ul></section>`;
}

export function classSection({ classes, skeleton, onDisks }: ImageReport): string {
  const held = (pages: number | undefined): string[] =>
    onDisks ? [pages ? formatBytes(pages * PAGE_BYTES) : ''] : [];
  const all = PAGE_CLASSES.reduce((sum, name) => sum + classes[name].pages, 0),
    present = PAGE_CLASSES.filter((name) => classes[name].pages > 0);
  const stack = rows(
    present,
    (name) =>
      `<i style="width:${((100 * classes[name].pages) / all).toFixed(3)}%;background:var(--c-${name})"></i>`,
  );
  const body = rows(present, (name) => {
    const { pages, rawBytes, estimatedCompressedBytes } = classes[name];
    return row(`${swatch(name)}${name}`, [
      formatCount(pages),
      formatShare(pages / all),
      formatBytes(rawBytes),
      estimate(estimatedCompressedBytes),
      ...held(onDisks?.[name]),
      EXPENDABLE.has(name) ? 'expendable' : 'critical',
    ]).replace('</th>', `<small>${CLASS_MEANINGS[name]}</small></th>`);
  });
  const rest = row('(no pages)', [
    '',
    '',
    formatBytes(skeleton.rawBytes),
    estimate(skeleton.estimatedCompressedBytes),
    ...held(undefined),
    'critical',
  ]).replace('</th>', `<small>${REST_MEANING}</small></th>`);
  const head = ['Class', 'Pages', 'Of all', 'Bytes (exact)', 'Compressed (estimate)'];
  if (onDisks) head.push('On its disks');
  head.push('If lost');
  return `<section aria-labelledby="h-classes"><h2 id="h-classes">What the memory holds</h2>
<div class="stack" aria-hidden="true">${stack}</div>
${table('', 'Pages of 4 KiB by class', head, body + rest)}</section>`;
}

export function policySection(report: ImageReport): string {
  const { policies, natives } = report;
  const native = (name: string, compressed: number | null, bytes: number): Stored => ({
    name,
    compressed,
    bytes,
    saved: '',
    of: 'native',
  });
  const stored: Stored[] = [
    ...policyOrder(report).flatMap((name): Stored[] => {
      const policy = policies[name];
      if (!policy) return [];
      const { estimatedCompressedBytes: compressed, estimatedSavedVsReplicateAll: saved } = policy;
      const share = saved === null ? '' : formatShare(saved);
      return [{ name, compressed, bytes: policy.storedBytes, saved: share, of: 'expendable' }];
    }),
    native('3 \u00d7 image', natives.estimatedThreeCopiesOfZstd, natives.threeCopies),
    native('RS-6-3 image', natives.estimatedRs63OfZstd, natives.rs63),
  ];
  const sampled = stored.every(({ compressed }) => compressed !== null);
  const length = ({ compressed, bytes }: Stored): number => (sampled ? (compressed ?? 0) : bytes);
  const most = Math.max(1, ...stored.map(length));
  const body = rows(stored, (one) => {
    const width = ((100 * length(one)) / most).toFixed(3);
    const bar = barCell(one.of, width);
    const cells = [estimate(one.compressed), one.saved, formatBytes(one.bytes)];
    return row(esc(one.name), cells, one.name === report.policy ? 'chosen' : '', bar);
  });
  const head = ['Policy', BAR_HEAD, 'Compressed (estimate)', 'Saved', 'Uncompressed (exact)'];
  return `<section aria-labelledby="h-policies"><h2 id="h-policies">What each policy stores</h2>
<p class="soft">Bytes over all copies. The last two are stores that know nothing of pages.
The bars are of ${sampled ? 'compressed' : 'uncompressed'} bytes.</p>
${table('policies', 'Policies beside plain storage', head, body)}</section>`;
}

/** A row of the policies: over all copies. */
interface Stored {
  name: string;
  compressed: number | null;
  bytes: number;
  saved: string;
  of: 'native' | 'expendable';
}

const BAR_HEAD = '<span aria-hidden="true"></span>';

function barCell(of: 'native' | 'expendable', width: string): string {
  return `<td class="bar" aria-hidden="true"><div><i class="${of}" style="width:${width}%"></i></div></td>`;
}

export function lossSection(report: ImageReport): string {
  const { durabilityInputs: inputs, reread } = report;
  const input = (id: string, text: string, value: number, limits: string): string =>
    `<label for="${id}">${text}<input id="${id}" type="number" value="${value}" ${limits} required></label>`;
  const body = rows(lossSchemes(report), ({ name, durability }) => {
    const cells = lossCells(durability, formatBytes).map((text) => `<td>${esc(text)}</td>`);
    return (
      `<tr data-name="${esc(name)}"${name === report.policy ? ' class="chosen"' : ''}>`
      + `<th scope="row">${esc(name)}</th>${cells.join('')}</tr>`
    );
  });
  const caption = 'When so many are dead at once, and the chance that the guest is lost within a year';
  return `<section aria-labelledby="h-losses"><h2 id="h-losses">What dead disks cost</h2>
<p class="soft">Of <span id="of-disks">${inputs.disks}</span> disks or DataNodes. The guest is lost
when a critical block had all its copies on the disks that died. Left out are disks that die together
(power, a batch, a person) and defects of software, which are commoner than small chances here: read them
as a comparison of policies, not as a promise. The formulas are in docs/reports.md.</p>
<form id="inputs" aria-label="Inputs of the estimate" onsubmit="return false">
${input('disks', 'disks or DataNodes', inputs.disks, 'min="1" max="10000" step="1"')}
${input('afr', 'die in a year, %', round(100 * inputs.annualFailureRate), 'min="0.01" max="99" step="any"')}
${input('repair', 'hours until copied again', inputs.repairHours, 'min="0.01" max="8766" step="any"')}
${input('block', 'block, MiB', inputs.blockBytes / 2 ** 20, 'min="1" max="65536" step="any"')}
</form>
${table('', caption, ['Stored as', '1 dead', '2 dead', '3 dead', 'Guest lost in a year'], body, 'losses')}
${
  reread.requests === 0
    ? ''
    : `<p class="soft">All clean cache lost: the guest reads up to `
      + `${formatBytes(reread.bytes)} again from its own disk, in up to ${formatCount(reread.requests)} `
      + `requests, as it needs them.</p>`
}${onDisksLine(report)}</section>`;
}

function onDisksLine(report: ImageReport): string {
  const bytes = bytesOnDisks(report);
  if (bytes === null) return '';
  return (
    `<p class="soft">The guest\u2019s own disks hold ${formatBytes(bytes)} of it, byte for `
    + `byte: lean and minimal leave that there, and the guest reads none of it again. A guest whose disk `
    + `is lost is lost anyway.</p>`
  );
}

/** Every way of storing that the losses are worked out for. */
export function lossSchemes(report: ImageReport): { name: string; durability: LaidOut }[] {
  const { threeCopies, rs63 } = report.natives.durability;
  const policies = policyOrder(report).flatMap((name) =>
    report.policies[name] ? [{ name, durability: report.policies[name].durability }] : [],
  );
  return [
    ...policies,
    { name: '3 \u00d7 image', durability: threeCopies },
    { name: 'RS-6-3 image', durability: rs63 },
  ];
}

export function fileSection({ files = [] }: ImageReport): string {
  if (files.length === 0) return '';
  const name = (path: string | null): string =>
    path === null ? '<span class="soft">name not cached</span>' : `<code>${esc(path)}</code>`;
  const body = rows(
    files,
    ({ cleanPages, file }) =>
      `<tr><td class="text">${name(file.path)}</td>`
      + `<td class="text">${esc(file.fileSystem)} ${esc(file.superBlock)}</td>`
      + `<td>${Number(file.inode)}</td><td>${formatBytes(Number(file.bytes))}</td>`
      + `<td>${formatBytes(cleanPages * PAGE_BYTES)}</td></tr>`,
  );
  const caption = 'Names are what the guest\u2019s own cache still knows, below the root of each file system';
  return `<section aria-labelledby="h-files"><h2 id="h-files">Files that hold most of the clean cache</h2>
${table('', caption, ['File', 'On', 'Inode', 'Size', 'Clean cache'], body)}</section>`;
}

export function reasonSection({ notes, reasons, uncomparedDisks }: ImageReport): string {
  const notesBody = rows(
    notes,
    ({ text, pages }) => `<tr><td class="text">${esc(text)}</td><td>${formatCount(pages)}</td></tr>`,
  );
  const body = rows(
    reasons,
    ({ class: name, text, rule, pages }) =>
      `<tr><td class="text">${swatch(name)}${name}</td><td `
      + `class="text">${esc(text)}</td><td>${esc(rule)}</td><td>${formatCount(pages)}</td></tr>`,
  );
  const doubts =
    notes.length === 0
      ? ''
      : table('', 'Critical, although one might expect otherwise', ['Why', 'Pages'], notesBody);
  return `<section aria-labelledby="h-why"><h2 id="h-why">Why</h2>${doubts}${uncomparedText(uncomparedDisks)}
<details><summary>Every page by the rule that decided</summary>
${table('', 'The rules are in docs/safety.md', ['Class', 'Because it is', 'Rule', 'Pages'], body)}
</details></section>`;
}

/** A start will be refused: the page must not hide that. */
function uncomparedText(disks: readonly string[]): string {
  if (disks.length === 0) return '';
  const list = disks.map((disk) => `<li>${esc(disk)}</li>`).join('');
  return (
    `<p>Every policy keeps the clean cache, and a start is refused unless that is `
    + `accepted:</p><ul>${list}</ul>`
  );
}

function swatch(name: string): string {
  return `<i class="swatch" style="background:var(--c-${name})"></i>`;
}

function estimate(bytes: number | null): string {
  return bytes === null ? '\u2013' : `~\u00a0${formatBytes(bytes)}`;
}

function row(head: string, cells: readonly string[], className = '', bar = ''): string {
  return (
    `<tr${className === '' ? '' : ` class="${className}"`}><th `
    + `scope="row">${head}</th>${bar}${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`
  );
}

const TEXT_COLUMNS = new Set(['On', 'Because it is', 'File', 'Why']);

/**
 * Scrolls within itself where it is too wide, and can be reached by the keyboard for that; on a narrow screen
 * each row is a list.
 */
function table(className: string, caption: string, head: readonly string[], body: string, id = ''): string {
  const cells = head
    .map((text) =>
      text.startsWith('<')
        ? `<td>${text}</td>`
        : `<th scope="col"${TEXT_COLUMNS.has(text) ? ' class="text"' : ''}>${text}</th>`,
    )
    .join('');
  const labelled = body.replace(/<tr[^]*?<\/tr>/g, (one) => withLabels(one, head));
  return (
    `<div class="scroll" tabindex="0" role="region" `
    + `aria-label="${caption}"><table${id === '' ? '' : ` id="${id}"`} `
    + `class="${className}"><caption>${caption}</caption><thead><tr>${cells}</tr></thead>`
    + `<tbody>${labelled}</tbody></table></div>`
  );
}

/** Each cell with the heading of its column: on a narrow screen it stands before the cell. */
function withLabels(row: string, head: readonly string[]): string {
  let column = 0;
  return row.replace(/<t[hd](?=[ >])/g, (cell) => {
    const label = head[column++] ?? '';
    return label.startsWith('<') ? cell : `${cell} data-label="${label}"`;
  });
}

function round(value: number): number {
  return Number(value.toPrecision(6));
}
