// SPDX-License-Identifier: Apache-2.0
/** docs/refusals.md on stdout, from the rows that test/integration/refusals.test.ts noted, on stdin. */
import { text } from 'node:stream/consumers';

interface Row {
  /** 9000 for libvirt 9.0. */
  libvirt: number;
  format: string;
  way: string;
  reason: string;
  refusedBy: string;
  stub: string;
  resumed: string;
}

const HEAD = `# Starts that are refused

Made by \`scripts/refusals\`; do not edit. A guest under QEMU's emulator is saved and becomes a stub. Then
something is broken, and libvirt is asked to start it. In each row whose stub was kept the start failed, the
stub was byte for byte what it was (or, where a refill had begun, still a stub), and once the fault was
fixed the guest resumed from that very stub and found its files, mappings and memory right. Where the hook
refused, virsh said why (with --bypass-cache it tells only of its helper that was ended), and
\`pars status\` did too.

"Refused by" is who ended the start: the hook, at \`prepare begin\`, or QEMU, which takes no stub for an
image. A hook that is ended by SIGKILL cannot refuse anything: what libvirt makes of that is its own affair.
Where it deletes the save, \`pars status\` exits with 4 and tells how to put it back. What has no row was
not run.
`;

function render(rows: readonly Row[]): string {
  const version = ({ libvirt }: Row): string => `${Math.floor(libvirt / 1000)}.${libvirt % 1000}`;
  const lines = rows.map((row) => [
    version(row),
    row.format,
    row.way,
    row.reason,
    row.refusedBy,
    row.stub,
    row.resumed,
  ]);
  const headings = ['libvirt', 'format', 'started by', 'reason', 'refused by', 'stub', 'resumed'];
  const table = [headings, headings.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`);
  return `${HEAD}\n${rows.length} rows, ${new Date().toISOString().slice(0, 10)}.\n\n${table.join('\n')}\n`;
}

const lines = (await text(process.stdin)).split('\n').filter((line) => line !== '');
process.stdout.write(render(lines.map((line) => JSON.parse(line) as Row)));
