// SPDX-License-Identifier: Apache-2.0
/**
 * What the benchmarks share: time and memory of a command, the sample image, and tables of what was found.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '..');
const SAMPLE = '61-ext4-5g';
const MEMORY_POLL_MS = 5;
export const GIB = 2 ** 30;
/** How the program is started. */
export const PARS = [process.execPath, join(ROOT, 'dist/cli.js')];

/**
 * The image of a guest with 5 GiB of RAM that has read real system files; the laboratory makes it when it is
 * not there.
 */
export function sampleImage() {
  const images = process.env.PARS_LAB_IMAGES ?? '/var/tmp/pars-lab/images';
  const path = join(images, `${SAMPLE}.save`);
  if (!existsSync(path))
    execFileSync(join(ROOT, 'test/support/lab/sample-images'), [SAMPLE], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
  return path;
}

/**
 * The program as a package brings it, put below `work`: in few files, and with its Node where that was
 * fetched before.
 */
export function packagedProgram(work) {
  const shipped = join(ROOT, `build/node/node_modules/node-linux-${process.arch}/bin/node`);
  const node = existsSync(shipped) ? shipped : process.execPath;
  const tree = join(work, 'program');
  execFileSync(process.execPath, ['scripts/bundle.js', tree, node, join(work, 'compiled'), 'a benchmark'], {
    cwd: ROOT,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return { node, program: join(tree, 'dist/cli.js') };
}

/** A directory that is gone when this process ends. `before` is called first. */
export function workDirectory(before = () => {}) {
  const work = mkdtempSync(
    join(process.env.PARS_BENCH_DIR ?? (existsSync('/var/tmp') ? '/var/tmp' : tmpdir()), 'pars-bench.'),
  );
  process.on('exit', () => {
    before(work);
    rmSync(work, { recursive: true, force: true });
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));
  return work;
}

/** Wall time in seconds of a command, from its start to its end. */
export function timed(command, args, env = {}) {
  const began = process.hrtime.bigint();
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, ...env } });
  return Number(process.hrtime.bigint() - began) / 1e9;
}

/**
 * All that was written is on the disk, so that none of it is still on its way while others are timed; and as
 * much memory as an image of so many bytes needs is at hand: a virtual machine's host may have taken free
 * memory back, and to get it again takes longer than to write the image.
 */
export function settleIn(work, bytes) {
  const scratch = join(work, 'scratch');
  execFileSync(
    'dd',
    ['if=/dev/zero', `of=${scratch}`, 'bs=8M', `count=${Math.ceil((bytes * 1.25) / 2 ** 23)}`],
    { stdio: 'ignore' },
  );
  rmSync(scratch);
  execFileSync('sync');
}

/** The largest RssAnon + RssShmem of a command and all it started, in bytes, sampled. */
export async function peakMemory(command, args) {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  let peak = 0;
  const poll = setInterval(() => (peak = Math.max(peak, memoryOf(child.pid))), MEMORY_POLL_MS);
  const code = await new Promise((done) => child.on('exit', done));
  clearInterval(poll);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}`);
  return peak;
}

function memoryOf(pid) {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const own = ['RssAnon', 'RssShmem'].reduce(
      (sum, key) => sum + Number(status.match(new RegExp(`${key}:\\s+(\\d+)`))?.[1] ?? 0) * 1024,
      0,
    );
    const threads = readdirSync(`/proc/${pid}/task`);
    const children = threads.flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').trim().split(' ').filter(Boolean),
    );
    return children.reduce((sum, child) => sum + memoryOf(child), own);
  } catch {
    return 0;
  }
}

/** Bytes of RAM of the guest in an image. */
export function guestBytes(image) {
  const json = execFileSync(PARS[0], [PARS[1], 'report', image, '--json'], {
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  return JSON.parse(json).ram.pages * 4096;
}

/** What memory may be taken for a guest of that size. */
export const memoryLimit = (bytes) => 300e6 + (16 * Math.max(0, bytes - 4 * GIB)) / 4096;

/** A line of a table of times: ours may be `limit` times theirs. */
export function row(what, against, ours, theirs, limit) {
  return {
    what,
    against,
    ours: `${ours.toFixed(2)} s`,
    theirs: `${theirs.toFixed(2)} s`,
    ratio: (ours / theirs).toFixed(2),
    limit: `<= ${limit}`,
    holds: ours / theirs <= limit,
  };
}

export function memoryRow(what, bytes, limit) {
  return {
    what: `memory of ${what}`,
    against: '300 MB at 4 GiB',
    ours: `${Math.round(bytes / 1e6)} MB`,
    theirs: `${Math.round(limit / 1e6)} MB`,
    ratio: (bytes / limit).toFixed(2),
    limit: '<= 1',
    holds: bytes <= limit,
  };
}

export function table(rows) {
  const head = ['what', 'baseline', 'Pars', 'baseline', 'ratio', 'target', 'holds'];
  return markdownTable([
    head,
    ...rows.map((r) => [r.what, r.against, r.ours, r.theirs, r.ratio, r.limit, r.holds ? 'yes' : 'NO']),
  ]);
}

/** The first line is the head. */
export function markdownTable(cells) {
  const widths = cells[0].map((_, i) => Math.max(...cells.map((line) => line[i].length)));
  const line = (words) => `| ${words.map((word, i) => word.padEnd(widths[i])).join(' | ')} |`;
  return [
    line(cells[0]),
    `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`,
    ...cells.slice(1).map(line),
  ].join('\n');
}

/** Where and with what it was measured. */
export function about(bytes) {
  return (
    `${new Date().toISOString().slice(0, 10)}; image of ${(bytes / GIB).toFixed(2)} GiB; `
    + `${cpus().length} cores (${cpus()[0].model.trim()}), ${Math.round(totalmem() / GIB)} GiB of RAM, `
    + `Linux ${release()}, Node ${process.version}`
  );
}
