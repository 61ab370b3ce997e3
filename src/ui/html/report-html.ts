// SPDX-License-Identifier: Apache-2.0
/** The report as one HTML file: nothing is loaded from anywhere, now or later. */
import { EXPENDABLE, PAGE_BYTES, PAGE_CLASSES } from '../../page-classes.js';
import { DURABILITY_FUNCTIONS } from '../../report/durability.js';
import { bytesByFate } from '../../report/report-summary.js';
import type { ImageReport } from '../../report/report.js';
import { version } from '../../version.js';
import { formatBytes } from '../units.js';
import { LOSS_FUNCTIONS, type LossData } from './page-losses.js';
import { MAP_FUNCTIONS, type MapData } from './page-map.js';
import {
  classSection,
  figures,
  fileSection,
  headlineSection,
  lossSchemes,
  lossSection,
  mapSection,
  policySection,
  reasonSection,
} from './sections.js';
import { STYLE } from './style.js';
import { esc, inlineJson } from './text.js';

/** Nothing but what stands in the file itself may run, and nothing may be fetched. */
const POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri "
  + "'none'; form-action 'none'";

const TITLE_END = ' \u2013 Pars</title>';

/** What renderHtml writes, told from other files: the title stands at the beginning of the page. */
export const REPORT_PAGE = {
  name: 'a report that pars wrote',
  isOne: (head: string): boolean => head.startsWith('<!doctype html>') && head.includes(TITLE_END),
  hint: 'name another file; to write over this one all the same: --force',
};

/** `host`: where it was made. */
export function renderHtml(report: ImageReport, made: Date, host?: string): string {
  const { image, guest } = report;
  const title = `Memory of ${image.domain.name}`;
  const kernel = guest.introspected ? `Linux ${esc(guest.kernel ?? 'unknown')}` : 'Not introspected';
  const data = inlineJson({ map: mapData(report), losses: lossData(report) });
  const when = `${made.toISOString().replace('T', ' ').slice(0, 16)} UTC`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}"><meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,"><title>${esc(title)}${TITLE_END}<style>${STYLE}</style></head>
<body><header><h1>${esc(title)}</h1>
<p class="lead">${kernel} \u00b7 <code>${esc(image.path)}</code> \u00b7 ${esc(image.domain.uuid)}</p>
<p class="lead">Report made ${host === undefined ? '' : `on ${esc(host)}, `}${when}</p>
${banners(report)}</header><main>
${headlineSection(report)}
${figures(report, bytesByFate(report))}
${mapSection(report)}
${policySection(report)}
${lossSection(report)}
${classSection(report)}
${fileSection(report)}
${reasonSection(report)}
</main><footer>${footnote(report, when)}</footer>
<script type="application/json" id="data">${data}</script>
<script>${script()}</script></body></html>
`;
}

function footnote({ estimated }: ImageReport, when: string): string {
  return (
    `<p>Exact: bytes before compression. Estimate: after zstd, from samples of each class. `
    + `${estimated ? 'Of a running guest every figure is an estimate. ' : ''}`
    + `Nothing was changed to make this report. Pars ${esc(version())}, ${when}.</p>`
  );
}

function banners({ guest, estimated, ram }: ImageReport): string {
  const running = estimated
    ? `<p class="banner"><strong>Estimates.</strong> The guest was running while its `
      + `${formatBytes(ram.pages * ram.pageSize)} were read, so all figures are estimates.</p>`
    : '';
  return guest.introspected
    ? running
    : `${running}<p class="banner"><strong>Every page is critical:</strong> `
        + `${esc(guest.reason ?? 'no reason given')}.</p>`;
}

function mapData({ map }: ImageReport): MapData {
  return {
    classes: [...PAGE_CLASSES],
    texts: PAGE_CLASSES.map((name) => (EXPENDABLE.has(name) ? 'expendable' : 'critical')),
    cellBytes: (map?.cellPages ?? 1) * PAGE_BYTES,
    segments: (map?.segments ?? []).map(({ gpa, bytes, runs }) => ({
      gpa,
      bytes,
      runs: runs.map(([name, cells]) => [PAGE_CLASSES.indexOf(name), cells] as const),
    })),
  };
}

function lossData(report: ImageReport): LossData {
  return {
    inputs: report.durabilityInputs,
    schemes: lossSchemes(report).map(({ name, durability }) => ({ name, scheme: durability.scheme })),
  };
}

/** The page's functions as they are, and the line that starts them. */
function script(): string {
  const functions = [...DURABILITY_FUNCTIONS, ...LOSS_FUNCTIONS, ...MAP_FUNCTIONS].map(String).join('\n');
  const text = `'use strict';
${functions}
const data = JSON.parse(document.getElementById('data').textContent);
startMap(data.map);
startLosses(data.losses, durabilityOf, formatSize);`;
  return text.replaceAll('</', '<\\/');
}
