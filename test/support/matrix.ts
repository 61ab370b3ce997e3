/**
 * The guest matrix, run whole: see scripts/matrix. A guest that was judged once is not booted again while its result is in
 * build/matrix; remove the file to run it anew.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SUITES } from './lab.js';
import { runMatrixGuest, type MatrixGuest, type MatrixResult } from './matrix-guest.js';
import { renderMatrix, type MatrixRow } from './matrix-page.js';
import { ParsHost } from './pars-host.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const RESULTS = join(ROOT, 'build/matrix');
const PAGE = join(ROOT, 'docs/guest-matrix.md');
const AT_ONCE = Number(process.env['PARS_MATRIX_AT_ONCE'] ?? 2);

const FILE_SYSTEMS = ['ext4', 'xfs', 'squashfs'] as const;

/** Every kernel on every file system, and shapes of machine that are covered rather than multiplied. */
const GUESTS: MatrixGuest[] = [
  ...SUITES.flatMap((kernel) => FILE_SYSTEMS.map((fs) => ({ kernel, fs, shape: 'pc, 1 vCPU, 512 MiB', options: {} }))),
  { kernel: 'trixie', fs: 'ext4', shape: 'q35, 2 vCPUs, 512 MiB', options: { machine: 'q35', vcpus: 2 } },
  { kernel: 'bookworm', fs: 'ext4', shape: 'pc, 5-level paging, 512 MiB', options: { cpu: 'max' } },
  { kernel: 'bookworm', fs: 'xfs', shape: 'pc, 192 MiB', options: { memoryMiB: 192 } },
  { kernel: 'trixie', fs: 'ext4', shape: 'q35, 4608 MiB', options: { machine: 'q35', memoryMiB: 4608 } },
];

function nameOf({ kernel, fs, shape }: MatrixGuest): string {
  return `${kernel}-${fs}-${shape.replace(/[^a-z0-9]+/gi, '-')}`;
}

async function cached(guest: MatrixGuest): Promise<MatrixResult | undefined> {
  const text = await readFile(join(RESULTS, `${nameOf(guest)}.json`), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as MatrixResult);
}

async function keep(guest: MatrixGuest, result: MatrixResult): Promise<void> {
  const path = join(RESULTS, `${nameOf(guest)}.json`);
  await writeFile(`${path}.new`, `${JSON.stringify(result, null, 1)}\n`);
  await rename(`${path}.new`, path);
}

/** Guests one after the other on a host of their own; what went wrong is kept in `failures`. */
async function work(queue: MatrixGuest[], failures: string[]): Promise<void> {
  for (let guest = queue.shift(); guest; guest = queue.shift()) {
    const began = Date.now();
    const host = await ParsHost.start();
    try {
      const result = await runMatrixGuest(host, guest, 1);
      await keep(guest, result);
      const verdict = result.all.sound && result.half.sound ? 'ok' : `FAIL ${result.all.said} ${result.half.said}`;
      console.log(`${nameOf(guest)}: ${verdict} (${Math.round((Date.now() - began) / 1000)} s)`);
    } catch (error) {
      failures.push(`${nameOf(guest)}: ${String(error)}`);
      console.log(failures.at(-1));
    } finally {
      await host.stop();
    }
  }
}

async function main(pattern: RegExp): Promise<number> {
  await mkdir(RESULTS, { recursive: true });
  const done = await Promise.all(GUESTS.map(cached));
  const queue = GUESTS.filter((guest, i) => !done[i] && pattern.test(nameOf(guest)));
  const failures: string[] = [];
  await Promise.all(Array.from({ length: AT_ONCE }, () => work(queue, failures)));
  const rows: MatrixRow[] = await Promise.all(GUESTS.map(async (guest) => ({ guest, result: await cached(guest) })));
  await writeFile(PAGE, renderMatrix(rows));
  const sound = rows.every(({ result }) => !result || (result.all.sound && result.half.sound));
  return failures.length === 0 && sound ? 0 : 1;
}

process.exitCode = await main(new RegExp(process.argv[2] ?? '.'));
