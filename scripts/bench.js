#!/usr/bin/env node
/**
 * Speed and memory beside what an admin would do by hand, in one run: npm run bench [-- IMAGE [--rounds N] [--markdown FILE]]
 * IMAGE: a libvirt save image, 4 GiB or more; without one the laboratory makes the image of a guest that has read real system files.
 * Everything is read from the page cache, and everything lies on one disk. Each figure is the best of N rounds (3), taken turn by turn.
 */
import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const ROOT = resolve(import.meta.dirname, '..');
const PARS = [process.execPath, join(ROOT, 'dist/cli.js')];
const SAMPLE = '61-ext4-5g';
const GIB = 2 ** 30;
const MEMORY_POLL_MS = 5;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '3' }, markdown: { type: 'string' }, only: { type: 'string' } },
});
const rounds = Number(values.rounds);
const original = positionals[0] ?? sampleImage();
const work = mkdtempSync(join(process.env.PARS_BENCH_DIR ?? (existsSync('/var/tmp') ? '/var/tmp' : tmpdir()), 'pars-bench.'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

const image = join(work, 'guest.save');
const packed = join(work, 'd1', 'guest.save.zst');
const disks = ['d1', 'd2', 'd3'].map((name) => join(work, name));
const config = join(work, 'pars.yaml');

function sampleImage() {
  const images = process.env.PARS_LAB_IMAGES ?? '/var/tmp/pars-lab/images';
  const path = join(images, `${SAMPLE}.save`);
  if (!existsSync(path)) execFileSync(join(ROOT, 'test/support/lab/sample-images'), [SAMPLE], { stdio: ['ignore', 'inherit', 'inherit'] });
  return path;
}

/** Wall time in seconds of a command, from its start to its end. */
function timed(command, args) {
  const began = process.hrtime.bigint();
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  return Number(process.hrtime.bigint() - began) / 1e9;
}

const shell = (script) => timed('sh', ['-ec', script]);
const pars = (...args) => timed(PARS[0], [PARS[1], ...args, '--config', config]);

/** The largest RssAnon + RssShmem of a command and all it started, in bytes, sampled. */
async function peakMemory(...args) {
  const child = spawn(PARS[0], [PARS[1], ...args, '--config', config], { stdio: ['ignore', 'ignore', 'inherit'] });
  let peak = 0;
  const poll = setInterval(() => (peak = Math.max(peak, memoryOf(child.pid))), MEMORY_POLL_MS);
  const code = await new Promise((done) => child.on('exit', done));
  clearInterval(poll);
  if (code !== 0) throw new Error(`pars ${args.join(' ')} ended with ${code}`);
  return peak;
}

function memoryOf(pid) {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const own = ['RssAnon', 'RssShmem'].reduce((sum, key) => sum + Number(status.match(new RegExp(`${key}:\\s+(\\d+)`))?.[1] ?? 0) * 1024, 0);
    const threads = readdirSync(`/proc/${pid}/task`);
    const children = threads.flatMap((thread) => readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').trim().split(' ').filter(Boolean));
    return children.reduce((sum, child) => sum + memoryOf(child), own);
  } catch {
    return 0;
  }
}

const best = (times) => Math.min(...times);
const settle = () => execFileSync('sync');

/** A fresh image and empty stores; all of it written, so that nothing of it is still on its way to the disk while others are timed. */
function prepare(policy) {
  for (const disk of disks) {
    rmSync(disk, { recursive: true, force: true });
    mkdirSync(disk);
  }
  copyFileSync(original, image);
  writeFileSync(config, `store: local:${disks.join(',')}\npolicy: ${policy}\nstate_dir: ${join(work, 'state')}\n`);
  pars('store', 'init', '--allow-same-device');
  settle();
}

function report() {
  prepare('lean');
  shell(`cat ${image} >/dev/null`);
  const [cat, ours] = [[], []];
  for (let i = 0; i < rounds * 2; i++) {
    cat.push(shell(`cat ${image} >/dev/null`));
    ours.push(pars('report', image, '--json'));
  }
  return [row('report', 'cat IMAGE >/dev/null', best(ours), best(cat), 0.75)];
}

function baseline() {
  const [store, fetch] = [[], []];
  for (let i = 0; i < rounds; i++) {
    prepare('lean');
    store.push(shell(`zstd -q -1 -T2 ${image} -o ${packed}; cp ${packed} ${disks[1]}; cp ${packed} ${disks[2]}; sync; cmp ${packed} ${disks[1]}/guest.save.zst; cmp ${packed} ${disks[2]}/guest.save.zst`));
    rmSync(image);
    settle();
    fetch.push(shell(`zstd -q -d ${packed} -o ${image}`));
    settle();
  }
  return { store: best(store), fetch: best(fetch) };
}

function placement(policy) {
  const [offload, hydrate] = [[], []];
  for (let i = 0; i < rounds; i++) {
    prepare(policy);
    offload.push(pars('offload', image));
    settle();
    hydrate.push(pars('hydrate', image));
    settle();
  }
  return { offload: best(offload), hydrate: best(hydrate) };
}

function row(what, against, ours, theirs, limit) {
  return { what, against, ours: `${ours.toFixed(2)} s`, theirs: `${theirs.toFixed(2)} s`, ratio: (ours / theirs).toFixed(2), limit: `<= ${limit}`, holds: ours / theirs <= limit };
}

async function memory() {
  const limit = 300e6 + 16 * Math.max(0, guestBytes() - 4 * GIB) / 4096;
  const entry = (what, bytes) => ({
    what: `memory of ${what}`, against: '300 MB at 4 GiB', ours: `${Math.round(bytes / 1e6)} MB`, theirs: `${Math.round(limit / 1e6)} MB`,
    ratio: (bytes / limit).toFixed(2), limit: '<= 1', holds: bytes <= limit,
  });
  prepare('lean');
  return [
    entry('report', await peakMemory('report', image, '--json')),
    entry('offload, lean', await peakMemory('offload', image)),
    entry('hydrate, lean', await peakMemory('hydrate', image)),
  ];
}

function guestBytes() {
  const json = execFileSync(PARS[0], [PARS[1], 'report', original, '--json'], { encoding: 'utf8', maxBuffer: 64 << 20 });
  return JSON.parse(json).ram.pages * 4096;
}

function table(rows) {
  const head = { what: 'what', against: 'baseline', ours: 'Pars', theirs: 'baseline', ratio: 'ratio', limit: 'target', holds: 'holds' };
  const cells = [head, ...rows.map((r) => ({ ...r, holds: r.holds ? 'yes' : 'NO' }))].map((r) => [r.what, r.against, r.ours, r.theirs, r.ratio, r.limit, r.holds]);
  const widths = cells[0].map((_, i) => Math.max(...cells.map((line) => line[i].length)));
  const line = (words) => `| ${words.map((word, i) => word.padEnd(widths[i])).join(' | ')} |`;
  return [line(cells[0]), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...cells.slice(1).map(line)].join('\n');
}

const rows = [];
const wants = (part) => values.only === undefined || values.only.split(',').includes(part);
if (wants('report')) rows.push(...report());
if (wants('place')) {
  const hand = baseline();
  const lean = placement('lean');
  const minimal = placement('minimal');
  rows.push(
    row('offload, lean', 'zstd -1 -T2, 3 copies, sync, cmp', lean.offload, hand.store, 1),
    row('offload, minimal', 'the same', minimal.offload, hand.store, 0.5),
    row('hydrate, lean', 'zstd -d', lean.hydrate, hand.fetch, 1),
    row('hydrate, minimal', 'the same', minimal.hydrate, hand.fetch, 0.5),
  );
}
if (wants('memory')) rows.push(...(await memory()));
const about = `${new Date().toISOString().slice(0, 10)}; image of ${(statSync(original).size / GIB).toFixed(2)} GiB; ${cpus().length} cores (${cpus()[0].model.trim()}), ${Math.round(totalmem() / GIB)} GiB of RAM, Linux ${release()}, Node ${process.version}; best of ${rounds}`;
const text = `${about}\n\n${table(rows)}\n`;
console.log(text);
if (values.markdown) writeFileSync(values.markdown, `# Benchmarks\n\nMade by \`npm run bench -- --markdown ${values.markdown}\`. Ratios below 1 mean that Pars takes less than the baseline.\n\n${text}`);
process.exitCode = rows.every((r) => r.holds) ? 0 : 1;
