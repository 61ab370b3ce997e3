/** docs/guest-matrix.md, made from the results of the guest matrix. */
import type { MatrixGuest, MatrixResult, Reads, Verdict } from './matrix-guest.js';

export interface MatrixRow {
  guest: MatrixGuest;
  /** Undefined when the guest was not run, or did not come up. */
  result: MatrixResult | undefined;
}

const HEAD = `# Guest matrix

Made by \`scripts/matrix\`; do not edit. Each guest is a Debian kernel under QEMU's emulator. It is saved idle and loses **every**
expendable page at once; then it is saved in the middle of writes (squashfs: idle) and loses a random **half** of its expendable frames, damaged in the store.
After each loss the guest checks its files, mappings, memory and kernel log, then writes into parts of pages, truncates, appends, syncs,
drops its caches and compares everything with its disk. "passed" means that it found nothing.
`;

export function renderMatrix(rows: MatrixRow[]): string {
  return [HEAD, verdicts(rows), shares(rows), costs(rows)].join('\n');
}

function table(headings: string[], rows: string[][]): string {
  const line = (cells: string[]): string => `| ${cells.join(' | ')} |`;
  return [line(headings), line(headings.map(() => '---')), ...rows.map(line), ''].join('\n');
}

function verdicts(rows: MatrixRow[]): string {
  const say = ({ sound, said, lostPages }: Verdict): string => (sound ? `passed, ${lostPages} pages lost` : `**FAILED**: ${said.replaceAll('|', '/')}`);
  const cells = rows.map(({ guest, result }) =>
    result
      ? [result.release, guest.fs, guest.shape, say(result.all), say(result.half), result.date]
      : [guest.kernel, guest.fs, guest.shape, 'not run', 'not run', ''],
  );
  return `## Kernel, file system, loss\n\n${table(['kernel', 'file system', 'machine', 'all lost', 'half lost', 'date'], cells)}`;
}

function ran(rows: MatrixRow[]): { guest: MatrixGuest; result: MatrixResult }[] {
  return rows.flatMap(({ guest, result }) => (result ? [{ guest, result }] : []));
}

function shares(rows: MatrixRow[]): string {
  const cells = ran(rows).map(({ guest, result: { release, cleanPages, expendablePages, reasons } }) => [
    release, guest.fs, guest.shape, String(cleanPages), `${((100 * expendablePages) / cleanPages).toFixed(1)} %`,
    reasons.map(({ text, pages }) => `${text}: ${pages}`).join('; '),
  ]);
  const note = 'Clean unmapped cache is counted by the guest\'s own kernel (/proc/kpageflags) moments before the save, the cache of its block devices included.';
  return `## What of the clean unmapped cache is expendable\n\n${note}\n\n${table(['kernel', 'file system', 'machine', 'clean pages', 'expendable', 'the rest, and why'], cells)}`;
}

function costs(rows: MatrixRow[]): string {
  const say = ({ sectors, requests }: Reads): string => `${requests} (${(sectors / 2048).toFixed(0)} MiB)`;
  const cells = ran(rows).map(({ guest, result: { release, reread, cold } }) => [
    release, guest.fs, guest.shape, say(reread), say(cold), (reread.requests / cold.requests).toFixed(1),
  ]);
  const note = 'Read requests that reading all files takes after every expendable page was lost, beside the same after drop_caches.';
  return `## What a loss costs the guest\n\n${note}\n\n${table(['kernel', 'file system', 'machine', 'after the loss', 'cold', 'times as many'], cells)}`;
}
