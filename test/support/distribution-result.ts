// SPDX-License-Identifier: Apache-2.0
/** What was measured of the distribution guests, kept beside the matrix's results. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const RESULTS = fileURLToPath(new URL('../../.matrix/', import.meta.url));
const PREFIX = 'distribution-';

export interface DistributionResult {
  suite: string;
  release: string;
  date: string;
  memoryMiB: number;
  /** Clean unmapped cache by the guest kernel's own count, and what Pars calls expendable, in pages. */
  cleanPages: number;
  expendablePages: number;
  reasons: { reason: string; pages: number }[];
  /** Bytes of the save image, and of its `zstd -1`. */
  image: number;
  zstd: number;
  /** Bytes over all disks, by policy. */
  stored: Record<string, number>;
  /** What it has lived through: the tests that passed, in their order. */
  passed: string[];
}

export async function keepDistribution(result: DistributionResult): Promise<void> {
  await mkdir(RESULTS, { recursive: true });
  await writeFile(join(RESULTS, `${PREFIX}${result.suite}.json`), `${JSON.stringify(result, null, 1)}\n`);
}

export async function keptDistributions(): Promise<DistributionResult[]> {
  const names = (await readdir(RESULTS)).filter((name) => name.startsWith(PREFIX)).sort();
  return Promise.all(
    names.map(async (name) => JSON.parse(await readFile(join(RESULTS, name), 'utf8')) as DistributionResult),
  );
}

const NOTE = `Debian servers, installed from their packages and booted by their own kernels, with systemd,
PostgreSQL, nginx, and a Java program with 96 MiB of random bytes in its heap, which nothing compresses: / on
ext4 and /srv on XFS, both on LVM; the database on md raid1; a LUKS volume; a squashfs and an ext4 mounted by
loop; an overlay over them (\`test/slow/distribution-guest.test.ts\`). After each loss of every expendable
page they compare the checksums of all files, pg_amcheck's answer and pgbench's sums, the heap, what nginx
serves and the kernel's log with what was before, write into parts of pages, drop their caches and compare
once more. When they are off, every file system and the database's checksums are checked.`;

/** Empty when none was run. */
export function renderDistributions(results: DistributionResult[]): string {
  if (results.length === 0) return '';
  return ['## Guests people have', NOTE, shares(results), savings(results)].join('\n\n') + '\n';
}

function shares(results: DistributionResult[]): string {
  const rows = results.map(({ suite, release, memoryMiB, cleanPages, expendablePages, reasons, ...rest }) => [
    `${suite}, ${release}`,
    `${memoryMiB} MiB`,
    String(cleanPages),
    `${((100 * expendablePages) / cleanPages).toFixed(2)} %`,
    reasons.map(({ reason, pages }) => `${reason}: ${pages}`).join('; '),
    rest.passed.join('; '),
    rest.date,
  ]);
  return table(
    ['guest', 'memory', 'clean pages', 'expendable', 'other cache, and why', 'passed', 'date'],
    rows,
  );
}

function savings(results: DistributionResult[]): string {
  const mib = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;
  const saved = (bytes: number, of: number): string => `${(100 * (1 - bytes / (3 * of))).toFixed(1)} %`;
  const rows = results.flatMap(({ suite, image, zstd, stored }) =>
    Object.entries(stored).map(([policy, bytes]) => [
      suite,
      policy,
      mib(bytes),
      `${saved(bytes, image)} of ${mib(3 * image)}`,
      `${saved(bytes, zstd)} of ${mib(3 * zstd)}`,
    ]),
  );
  const head = ['guest', 'policy', 'stored, all disks', 'saved of 3 images', 'saved of 3 images in zstd -1'];
  return `What was stored, beside three copies of the image, as it is and packed.\n\n${table(head, rows)}`;
}

function table(headings: string[], rows: string[][]): string {
  const line = (cells: string[]): string => `| ${cells.join(' | ')} |`;
  return [line(headings), line(headings.map(() => '---')), ...rows.map(line)].join('\n');
}
