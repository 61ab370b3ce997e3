/** Reports as CSV (RFC 4180): a row a guest, counts in pages and bytes, an error in the last column. */
import { PAGE_CLASSES } from '../page-classes.js';
import { PRESETS } from '../policy.js';
import { bytesByFate, type ReportOutcome } from '../report-summary.js';

const FIXED = ['path', 'name', 'uuid', 'kernel', 'introspected', 'image_bytes', 'ram_bytes', 'critical_bytes', 'expendable_bytes'];

export function renderCsv(outcomes: readonly ReportOutcome[]): string {
  const head = [...FIXED, ...PAGE_CLASSES.map((name) => `${name}_pages`), ...PRESETS.map((name) => `${name}_bytes`), 'error'];
  return [head, ...outcomes.map(cells)].map((row) => row.map(quote).join(',')).join('\r\n');
}

function cells(outcome: ReportOutcome): string[] {
  if ('error' in outcome) return [outcome.path, ...Array<string>(FIXED.length - 1 + PAGE_CLASSES.length + PRESETS.length).fill(''), outcome.error.message];
  const { image, guest, ram, classes, policies } = outcome.report;
  const { critical, expendable } = bytesByFate(outcome.report);
  return [
    outcome.path, image.domain.name, image.domain.uuid, guest.kernel ?? '', String(guest.introspected),
    ...[image.bytes, ram.pages * ram.pageSize, critical, expendable].map(String),
    ...PAGE_CLASSES.map((name) => String(classes[name].pages)),
    ...PRESETS.map((name) => String(policies[name]?.storedBytes ?? '')), '',
  ];
}

/** Names are a guest owner's choice: one that a spreadsheet would run as a formula is shown as the text it is. */
function quote(cell: string): string {
  const text = /^[=+\-@\t\r]/.test(cell) ? `'${cell}` : cell;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
