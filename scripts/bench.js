#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
/**
 * Speed and memory beside what an admin would do by hand, in one run: npm run bench [-- IMAGE [--rounds N]
 * [--markdown FILE]] IMAGE: a libvirt save image, 4 GiB or more; without one the laboratory makes the image
 * of a guest that has read real system files. Everything is read from the page cache, and everything lies on
 * one disk. Each figure is the best of N rounds (3), taken turn by turn.
 */
import { open } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { copyFileSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  about,
  packagedProgram,
  guestBytes,
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

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '3' },
    markdown: { type: 'string' },
    only: { type: 'string' },
  },
});
const rounds = Number(values.rounds);
const original = positionals[0] ?? sampleImage();
const work = workDirectory();

const image = join(work, 'guest.save');
const packed = join(work, 'd1', 'guest.save.zst');
const disks = ['d1', 'd2', 'd3'].map((name) => join(work, name));
const config = join(work, 'pars.yaml');

const shell = (script) => timed('sh', ['-ec', script]);
const pars = (...args) => timed(PARS[0], [PARS[1], ...args, '--config', config]);

const best = (times) => Math.min(...times);
const settle = () => settleIn(work, statSync(original).size);

/** A fresh image and empty stores. */
function prepare(policy) {
  for (const disk of disks) {
    rmSync(disk, { recursive: true, force: true });
    mkdirSync(disk);
  }
  copyFileSync(original, image);
  writeFileSync(
    config,
    `store: local:${disks.join(',')}\npolicy: ${policy}\nstate_dir: ${join(work, 'state')}\n`,
  );
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

/**
 * How soon a command of the program answers as a package brings it, and how long a text report takes, against
 * what can hardly be less.
 */
function start() {
  prepare('lean');
  const { node, program } = packagedProgram(work);
  const saves = join(work, 'saves');
  mkdirSync(saves);
  const calls = {
    node: () => timed(node, ['-e', '0']),
    status: () => timed(program, ['status', '--config', config, '--save-dir', saves]),
    report: () => timed(program, ['report', image, '--config', config]),
    cat: () => shell(`cat ${image} >/dev/null`),
  };
  const times = Object.fromEntries(Object.keys(calls).map((name) => [name, []]));
  for (const call of Object.values(calls)) call();
  for (let i = 0; i < rounds * 7; i++)
    for (const [name, call] of Object.entries(calls)) times[name].push(call());
  const [nothing, status, text, cat] = ['node', 'status', 'report', 'cat'].map((name) => best(times[name]));
  return [
    row('pars status, packaged', 'node -e 0', status, nothing, 1.5),
    row('pars report, packaged', 'cat IMAGE >/dev/null', text, cat, 1.2),
  ];
}

function baseline() {
  const [store, fetch, durable] = [[], [], []];
  for (let i = 0; i < rounds; i++) {
    prepare('lean');
    store.push(
      shell(
        `zstd -q -1 -T2 ${image} -o ${packed}; cp ${packed} ${disks[1]}; cp ${packed} ${disks[2]}; `
          + `sync; cmp ${packed} ${disks[1]}/guest.save.zst; cmp ${packed} ${disks[2]}/guest.save.zst`,
      ),
    );
    rmSync(image);
    settle();
    fetch.push(shell(`zstd -q -d ${packed} -o ${image}`));
    rmSync(image);
    settle();
    durable.push(shell(`zstd -q -d ${packed} -o ${image}; sync ${image}`));
  }
  return { store: best(store), fetch: best(fetch), durable: best(durable) };
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

async function memory() {
  const limit = memoryLimit(guestBytes(original));
  const peak = (...args) => peakMemory(PARS[0], [PARS[1], ...args, '--config', config]);
  prepare('lean');
  return [
    memoryRow('report', await peak('report', image, '--json'), limit),
    memoryRow('offload, lean', await peak('offload', image), limit),
    memoryRow('hydrate, lean', await peak('hydrate', image), limit),
  ];
}

/**
 * What the proof of an offload adds (R20) where all cores are busy: the bytes are copied out of the image
 * anyhow, and then what is critical is unpacked again. Its processor time, spread over the cores.
 */
async function proof() {
  const { PackSession } = await import('../dist/reader/pack-session.js');
  const { isExpendableKind, PAGE_CLASSES } = await import('../dist/page-classes.js');
  const { native } = await import('../dist/native.js');
  const offload = [],
    proved = [];
  for (let i = 0; i < rounds; i++) {
    prepare('lean');
    const file = await open(image);
    const session = await PackSession.look(file.fd);
    let spent = 0;
    for await (const { frames } of session.pack(PAGE_CLASSES)) {
      const { decompress } = native();
      for (const { kind, data, rawBytes, release } of frames) {
        const before = process.hrtime.bigint();
        if (!isExpendableKind(kind)) await decompress(data, rawBytes);
        spent += Number(process.hrtime.bigint() - before) / 1e9;
        release();
      }
    }
    proved.push(spent / availableParallelism());
    await session.close();
    await file.close();
    offload.push(pars('offload', image));
  }
  return [row('proof of an offload, on all cores', 'offload, lean', best(proved), best(offload), 0.1)];
}

const rows = [];
const wants = (part) => values.only === undefined || values.only.split(',').includes(part);
if (wants('report')) rows.push(...report());
if (wants('start')) rows.push(...start());
if (wants('place')) {
  const hand = baseline();
  const lean = placement('lean');
  const minimal = placement('minimal');
  rows.push(
    row('offload, lean', 'zstd -1 -T2, 3 copies, sync, cmp', lean.offload, hand.store, 1),
    row('offload, minimal', 'the same', minimal.offload, hand.store, 0.5),
    row('hydrate, lean', 'zstd -d', lean.hydrate, hand.fetch, 1),
    row('hydrate, minimal', 'zstd -d', minimal.hydrate, hand.fetch, 0.5),
    // A stub may only go once the image is on the disk (R17): what an admin who waits for that too would
    // need.
    row('hydrate, lean', 'zstd -d, sync', lean.hydrate, hand.durable, 1),
    row('hydrate, minimal', 'zstd -d, sync', minimal.hydrate, hand.durable, 0.5),
  );
}
if (wants('proof')) rows.push(...(await proof()));
if (wants('memory')) rows.push(...(await memory()));
const text = `${about(statSync(original).size)}; best of ${rounds}\n\n${table(rows)}\n`;
console.log(text);
if (values.markdown)
  writeFileSync(
    values.markdown,
    `# Benchmarks\n\nMade by \`npm run bench -- --markdown ${values.markdown}\`. Ratios below 1 mean `
      + `that Pars takes less than the baseline.\n\n${text}`,
  );
process.exitCode = rows.every((r) => r.holds) ? 0 : 1;
