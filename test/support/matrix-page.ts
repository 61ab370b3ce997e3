// SPDX-License-Identifier: Apache-2.0
/** docs/guest-matrix.md, made from the results of the guest matrix. */
import { renderDistributions, type DistributionResult } from './distribution-result.js';
import { isSound, type MatrixGuest, type MatrixResult, type Reads, type Outcome } from './matrix-guest.js';

export interface MatrixRow {
  guest: MatrixGuest;
  /** Undefined when the guest was not run, or did not come up. */
  result: MatrixResult | undefined;
}

type Ran = MatrixRow & { result: MatrixResult };

const HEAD = `# Guest matrix

Made by \`scripts/matrix\`; do not edit. Each guest is a Debian kernel under QEMU's emulator. It is saved
three times. Idle, it loses **every** expendable page at once. In the middle of its work (files being
written, written through a mapping, an SQLite database, sendfile), it loses a random **half** of its
expendable frames, damaged in the store; and so again, **every** expendable page. After each loss the guest
checks its work, files, mappings, memory and kernel log, then writes into parts of pages, truncates,
appends, syncs, drops its caches and compares everything with its disk. "passed" means that it found
nothing.
`;

export function renderMatrix(
  rows: MatrixRow[],
  host: string,
  distributions: DistributionResult[] = [],
): string {
  const ran = rows.filter((row): row is Ran => row.result !== undefined);
  const sound = ran.filter(({ result }) => isSound(result)).length;
  const dates = ran.map(({ result }) => result.date).sort();
  const summary =
    `${ran.length} of ${rows.length} guests run, ${dates[0] ?? '-'} to `
    + `${dates.at(-1) ?? '-'}, under ${host}: ${sound} passed, ${ran.length - sound} failed.\n`;
  return [
    HEAD,
    summary,
    outcomes(rows),
    shares(ran),
    costs(ran.filter(({ result }) => result.reason === null)),
    renderDistributions(distributions),
  ].join('\n');
}

function table(headings: string[], rows: string[][]): string {
  const line = (cells: string[]): string => `| ${cells.join(' | ')} |`;
  return [line(headings), line(headings.map(() => '---')), ...rows.map(line), ''].join('\n');
}

function outcomes(rows: MatrixRow[]): string {
  const say = ({ sound, said, lostPages }: Outcome): string =>
    sound ? `passed, ${lostPages} pages lost` : `**FAILED**: ${said.replaceAll('|', '/')}`;
  const cells = rows.map(({ guest, result }) =>
    result
      ? [
          result.release,
          guest.fs,
          guest.shape,
          say(result.idleAll),
          say(result.busyHalf),
          say(result.busyAll),
          result.date,
          result.commit,
        ]
      : [guest.kernel, guest.fs, guest.shape, 'not run', 'not run', 'not run', '', ''],
  );
  const losses = ['idle, all lost', 'busy, half lost', 'busy, all lost'];
  const head = ['kernel', 'file system', 'machine', ...losses, 'date', 'commit'];
  return `## Kernel, file system, loss\n\n${table(head, cells)}`;
}

function shares(rows: Ran[]): string {
  const cells = rows.map(({ guest, result: { release, reason, cleanPages, expendablePages, reasons } }) => [
    release,
    guest.fs,
    guest.shape,
    String(cleanPages),
    `${((100 * expendablePages) / cleanPages).toFixed(2)} %`,
    reason === null
      ? reasons.map(({ text, pages }) => `${text}: ${pages}`).join('; ')
      : `not introspected: ${reason}`,
  ]);
  const note =
    "Synced and idle. Clean unmapped cache is counted by the guest's own kernel (/proc/kpageflags) moments\n"
    + "before the save; the cache of its block devices (the file systems' own metadata), which is never\n"
    + 'expendable, is part of it.';
  const head = ['kernel', 'file system', 'machine', 'clean pages', 'expendable', 'the rest, and why'];
  return `## What of the clean unmapped cache is expendable\n\n${note}\n\n${table(head, cells)}`;
}

function costs(rows: Ran[]): string {
  const say = ({ sectors, requests }: Reads): string => `${requests} (${(sectors / 2048).toFixed(0)} MiB)`;
  const cells = rows.map(({ guest, result: { release, reread, cold } }) => [
    release,
    guest.fs,
    guest.shape,
    say(reread),
    say(cold),
    (reread.requests / cold.requests).toFixed(1),
  ]);
  const note =
    'Read requests that reading all files takes after every expendable page was lost, beside the same\n'
    + 'after drop_caches.';
  const head = ['kernel', 'file system', 'machine', 'after the loss', 'cold', 'times as many'];
  return `## What a loss costs the guest\n\n${note}\n\n${table(head, cells)}`;
}
