#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
/**
 * What a guest's image costs in HDFS, and how long it takes there and back, beside `hdfs dfs`: npm run
 * bench:hdfs [-- IMAGE [--rounds N] [--markdown FILE]] IMAGE: a libvirt save image of 1 GiB or more (4 for
 * the memory to count); without one the laboratory makes that of a guest that has read real system files. All
 * of it runs on a cluster of five DataNodes of its own, on one disk, in one run; times are the best of N
 * rounds (2), turn by turn. Needs root, and room for five images of that size.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import {
  about,
  GIB,
  guestBytes,
  markdownTable,
  memoryLimit,
  memoryRow,
  PARS,
  peakMemory,
  row,
  sampleImage,
  settleIn,
  table,
  timed,
  workDirectory,
} from './measure.js';

const HDFS = resolve(import.meta.dirname, 'hdfs');
const CODING = 'RS-3-2-1024k';
const DATA_NODES = 5;
const DELETED_MS = 300_000;
/** Those whose time is taken are measured then. */
const POLICIES = {
  'replicate-all': 'replicate-all',
  pars: 'pars',
  'lean, critical in RS-3-2': '{base: lean, critical: rs-3-2}',
  'minimal, critical in RS-3-2': '{base: minimal, critical: rs-3-2}',
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '2' }, markdown: { type: 'string' } },
});
const rounds = Number(values.rounds);
const original = positionals[0] ?? sampleImage();
const work = workDirectory((directory) => {
  if (existsSync(join(directory, 'hdfs', 'cluster')))
    execFileSync(HDFS, ['-C', join(directory, 'hdfs'), 'down']);
});
const [cluster, image, packed, fetched, config] = [
  'hdfs',
  'guest.save',
  'guest.save.zst',
  'fetched.save',
  'pars.yaml',
].map((name) => join(work, name));

/** The command `hdfs`, as its own script would start it. */
const hdfs = (...args) => timed(HDFS, ['-C', cluster, 'exec', ...args], { PARS_HDFS_PLAIN_CLIENT: '1' });
const pars = (...args) => timed(PARS[0], [PARS[1], ...args, '--config', config]);
const settle = () => settleIn(work, statSync(original).size);
const best = (times) => Math.min(...times);

/** Not our child: one that has ended would wait for us to notice, while we wait for `down`. */
function start() {
  execFileSync(HDFS, ['-C', cluster, 'up', String(DATA_NODES), '--owner', String(process.pid)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return execFileSync(HDFS, ['-C', cluster, 'url'], { encoding: 'utf8' }).trim();
}

const url = start();

/**
 * An operation that the NameNode answers by itself; on a connection of its own: while a child is waited for
 * nobody sees one end.
 */
async function ask(method, path, op, query = '') {
  const response = await fetch(
    `${url.replace('webhdfs:', 'http:')}/webhdfs/v1${path}?op=${op}&user.name=root${query}`,
    { method, headers: { connection: 'close' } },
  );
  if (!response.ok) throw new Error(`${op} ${path}: ${await response.text()}`);
  return response.json().catch(() => null);
}

/** Bytes over all copies, or with parity. */
const spaceOf = async (path) => (await ask('GET', path, 'GETCONTENTSUMMARY')).ContentSummary.spaceConsumed;

/** Makes the cluster empty, and waits until the DataNodes have deleted what they had. */
async function empty() {
  const { FileStatuses } = await ask('GET', '/', 'LISTSTATUS');
  for (const { pathSuffix } of FileStatuses.FileStatus)
    await ask('DELETE', `/${pathSuffix}`, 'DELETE', '&recursive=true');
  const used = () =>
    Number(execFileSync('du', ['-sm', join(cluster, 'state')], { encoding: 'utf8' }).split('\t')[0]);
  for (const deadline = Date.now() + DELETED_MS; used() > 256; await sleep(500))
    if (Date.now() > deadline) throw new Error('the DataNodes do not delete');
  execFileSync('sync');
}

async function directory(name, coding) {
  await ask('PUT', `/${name}`, 'MKDIRS');
  if (coding !== undefined) await ask('PUT', `/${name}`, 'SETECPOLICY', `&ecpolicy=${coding}`);
}

function useStore(name, policy) {
  rmSync(join(work, 'state'), { recursive: true, force: true });
  writeFileSync(config, `store: ${url}/${name}\npolicy: ${policy}\nstate_dir: ${join(work, 'state')}\n`);
  pars('store', 'init');
}

/** Bytes over all copies of what is not timed, into `found`. */
async function spaces(found) {
  execFileSync('zstd', ['-q', '-1', '-T2', '-f', original, '-o', packed]);
  found['put raw RS-3-2'] = await spaceOfPut(original, CODING);
  found['put zstd'] = await spaceOfPut(packed);
  found['put zstd RS-3-2'] = await spaceOfPut(packed, CODING);
  rmSync(packed);
  for (const [name, policy] of Object.entries(POLICIES)) {
    useStore('store', policy);
    pars('offload', '--keep-local', original);
    found[name] = await spaceOf('/store');
    publish();
    await empty();
  }
}

async function spaceOfPut(file, coding) {
  await directory('put', coding);
  hdfs('dfs', '-put', file, '/put/file');
  const bytes = await spaceOf('/put');
  await empty();
  return bytes;
}

function spaceTable(found) {
  const names = {
    'put raw': 'hdfs dfs -put, raw image, 3 copies',
    'put raw RS-3-2': 'hdfs dfs -put, raw image, RS-3-2',
    'put zstd': 'hdfs dfs -put, zstd -1 of it, 3 copies',
    'put zstd RS-3-2': 'hdfs dfs -put, zstd -1 of it, RS-3-2',
    'replicate-all': 'pars, replicate-all',
    pars: 'pars, pars',
    lean: 'pars, lean',
    minimal: 'pars, minimal',
    'lean, critical in RS-3-2': 'pars, lean, critical in RS-3-2',
    'minimal, critical in RS-3-2': 'pars, minimal, critical in RS-3-2',
  };
  const cells = Object.entries(names)
    .filter(([name]) => name in found)
    .map(([name, what]) => [
      what,
      (found[name] / GIB).toFixed(2),
      `${((100 * found[name]) / found['put raw']).toFixed(1)} %`,
    ]);
  return markdownTable([['stored as', 'GiB over all copies', 'of the raw image, 3 copies'], ...cells]);
}

async function times() {
  const taken = {
    put: [],
    get: [],
    durable: [],
    lean: { offload: [], hydrate: [] },
    minimal: { offload: [], hydrate: [] },
    spaces: {},
  };
  for (let i = 0; i < rounds; i++) {
    await directory('put');
    settle();
    taken.put.push(hdfs('dfs', '-put', original, '/put/file'));
    taken.spaces['put raw'] = await spaceOf('/put');
    settle();
    taken.get.push(hdfs('dfs', '-get', '/put/file', fetched));
    rmSync(fetched);
    settle();
    taken.durable.push(hdfs('dfs', '-get', '/put/file', fetched) + timed('sync', [fetched]));
    rmSync(fetched);
    await empty();
    for (const policy of ['lean', 'minimal']) {
      fresh(policy);
      taken[policy].offload.push(pars('offload', image));
      taken.spaces[policy] = await spaceOf('/store');
      settle();
      taken[policy].hydrate.push(pars('hydrate', image));
      await empty();
    }
  }
  return taken;
}

/** An image of its own, all of it written, in the page cache like the one that -put reads. */
function fresh(policy) {
  rmSync(image, { force: true });
  copyFileSync(original, image);
  useStore('store', policy);
  settle();
}

async function memory() {
  const limit = memoryLimit(guestBytes(original));
  const peak = (...args) => peakMemory(PARS[0], [PARS[1], ...args, '--config', config]);
  fresh('lean');
  return [
    memoryRow('offload, lean', await peak('offload', image), limit),
    memoryRow('hydrate, lean', await peak('hydrate', image), limit),
  ];
}

function timeRows({ put, get, durable, lean, minimal }) {
  return [
    row('offload, lean', 'hdfs dfs -put, 3 copies', best(lean.offload), best(put), 0.5),
    row('offload, minimal', 'the same', best(minimal.offload), best(put), 0.167),
    row('hydrate, lean', 'hdfs dfs -get', best(lean.hydrate), best(get), 1),
    row('hydrate, minimal', 'the same', best(minimal.hydrate), best(get), 0.333),
    // A stub may only go once the image is on the disk (R17): what an admin who waits for that too would
    // need.
    row('hydrate, lean', 'hdfs dfs -get, sync', best(lean.hydrate), best(durable), 1),
    row('hydrate, minimal', 'the same', best(minimal.hydrate), best(durable), 0.333),
  ];
}

const taken = await times();
const rows = timeRows(taken);
publish();
rows.push(...(await memory()));
await empty();
await spaces(taken.spaces);
console.log(publish());
process.exit(rows.every(({ holds }) => holds) ? 0 : 1);

/** What was found so far: it takes long, and whoever stops it keeps that. */
function publish() {
  const text = `${about(statSync(original).size)};
one NameNode and ${DATA_NODES} DataNodes on the same machine and disk; times are the best of ${rounds}

## Space

Bytes over all copies, with parity, as GETCONTENTSUMMARY tells them.

${spaceTable(taken.spaces)}

## Time and memory

From the start of the command to its end, the start of its JVM or of Node included. An offload ends when
every copy is proved and the local image is a stub, a hydration when the whole image is on the disk; \`-put\`
compares nothing, \`-get\` waits for no disk. Ratios below 1 mean that Pars takes less.

${table(rows)}
`;
  if (values.markdown) {
    // Written by hand, and none of this script's.
    const kept = existsSync(values.markdown)
      ? (/\n## Other clusters\n.*/s.exec(readFileSync(values.markdown, 'utf8'))?.[0] ?? '')
      : '';
    writeFileSync(
      values.markdown,
      `# Pars beside hdfs dfs\n\nMade by \`npm run bench:hdfs -- --markdown ${values.markdown}\`. How `
        + `to set a store in HDFS up is in the [README](../README.md#in-hdfs).\n\n${text}${kept}`,
    );
  }
  return text;
}
