// SPDX-License-Identifier: Apache-2.0
/**
 * The guest matrix, run whole: see scripts/matrix. A guest that was judged once is not booted again while its
 * result is in
 * .matrix; remove the file to run it again.
 */
import { execFile } from 'node:child_process';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { keptDistributions } from './distribution-result.js';
import { isSound, runMatrixGuest, type MatrixGuest, type MatrixResult } from './matrix-guest.js';
import { GUESTS } from './matrix-list.js';
import { renderMatrix, type MatrixRow } from './matrix-page.js';
import { ParsHost } from './pars-host.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const RESULTS = join(ROOT, '.matrix');
const PAGE = join(ROOT, 'docs/guest-matrix.md');
const AT_ONCE = Number(process.env['PARS_MATRIX_AT_ONCE'] ?? 2);

function nameOf({ kernel, fs, shape }: MatrixGuest): string {
  return [kernel, fs, shape].join(' ').replace(/[^a-z0-9]+/gi, '-');
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
      const result = await runMatrixGuest(host, guest, await commit(), 1);
      await keep(guest, result);
      const said = [result.idleAll, result.busyHalf, result.busyAll].map(({ said }) => said).join(' ');
      console.log(
        `${nameOf(guest)}: ${isSound(result) ? 'ok' : `FAIL ${said}`} `
          + `(${Math.round((Date.now() - began) / 1000)} s)`,
      );
    } catch (error) {
      failures.push(`${nameOf(guest)}: ${String(error)}`);
      console.log(failures.at(-1));
    } finally {
      await host.stop();
    }
  }
}

async function commit(): Promise<string> {
  return (await promisify(execFile)('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT })).stdout.trim();
}

/** What runs the guests: "QEMU 7.2.22, libvirt 9.0.0". */
async function hostVersions(): Promise<string> {
  const version = async (command: string): Promise<string> =>
    /\d+\.\d+\.\d+/.exec((await promisify(execFile)(command, ['--version'])).stdout)?.[0]
    ?? 'of unknown version';
  return `QEMU ${await version('qemu-system-x86_64')}, libvirt ${await version('virsh')}`;
}

async function main(pattern: RegExp): Promise<number> {
  await mkdir(RESULTS, { recursive: true });
  const done = await Promise.all(GUESTS.map(cached));
  const queue = GUESTS.filter((guest, i) => !done[i] && pattern.test(nameOf(guest)));
  const failures: string[] = [];
  await Promise.all(Array.from({ length: AT_ONCE }, () => work(queue, failures)));
  const rows: MatrixRow[] = await Promise.all(
    GUESTS.map(async (guest) => ({ guest, result: await cached(guest) })),
  );
  await writeFile(PAGE, renderMatrix(rows, await hostVersions(), await keptDistributions()));
  return failures.length === 0 && rows.every(({ result }) => !result || isSound(result)) ? 0 : 1;
}

process.exitCode = await main(new RegExp(process.argv[2] ?? '.'));
