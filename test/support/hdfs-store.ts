// SPDX-License-Identifier: Apache-2.0
/** A store in a real HDFS, a directory of its own for each test, and ways to harm it. */
import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { StoreFixture } from '../contract/store.js';
import { HdfsStore } from '../../src/stores/hdfs/hdfs-store.js';
import { initHdfsStore } from '../../src/stores/hdfs/init.js';
import { nameNodesOf, WebHdfsClient } from '../../src/webhdfs/index.js';
import type { HdfsCluster } from './hdfs-cluster.js';

const run = promisify(execFile);
let made = 0;

export interface HdfsFixture extends StoreFixture {
  store: HdfsStore;
  url: string;
  root: string;
  client: WebHdfsClient;
}

/** `parent`: a directory that is there; by default that of the file system. */
export async function hdfsFixture(cluster: HdfsCluster, parent = ''): Promise<HdfsFixture> {
  const root = `${parent}/test-${process.pid}-${made++}`;
  const url = `${cluster.url}${root}`;
  await initHdfsStore(url);
  const client = new WebHdfsClient({ nameNodes: nameNodesOf(cluster.url), user: 'root' });
  const spoiled = new Set<string>();
  return {
    store: new HdfsStore(url),
    url,
    root,
    client,
    reopen: () => new HdfsStore(url),
    corruptOneCopy: (name) => corruptCopies(cluster, `${root}/${name}`, spoiled),
    dispose: async () => void (await client.delete(root, { recursive: true })),
  };
}

/**
 * The first time one copy, the second time all: HDFS, once it has met a bad copy, makes another from a good
 * one, and that is waited for. False when they were spoiled before.
 */
async function corruptCopies(cluster: HdfsCluster, path: string, spoiled: Set<string>): Promise<boolean> {
  const copies = await blockFiles(cluster, path);
  const good = copies.filter((file) => !spoiled.has(file));
  const chosen = spoiled.size === 0 ? good.slice(0, 1) : good;
  for (const file of chosen) {
    await flipByte(file);
    spoiled.add(file);
  }
  return chosen.length > 0;
}

/** Spoils each copy of the first block of a file. */
export async function spoilFirstBlock(cluster: HdfsCluster, path: string): Promise<void> {
  const report = await fsck(cluster, path);
  const [, block = '', places = ''] = /^0\. .*?(blk_\d+)_\d+ len=\d+ (.*)$/m.exec(report) ?? [];
  const nodes = [...places.matchAll(/DatanodeInfoWithStorage\[127\.0\.1\.(\d+):/g)].map(
    ([, number]) => number,
  );
  if (nodes.length === 0) throw new Error(`no block of ${path}: ${report}`);
  for (const number of nodes)
    await flipByte(await blockFile(join(cluster.dir, 'state', `dn${number}`), block));
}

async function flipByte(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  const byte = Buffer.alloc(1);
  await handle.read(byte, 0, 1, 0);
  byte[0] = (byte[0] ?? 0) ^ 0x80;
  await handle.write(byte, 0, 1, 0);
  await handle.close();
}

/** Where the DataNodes keep the copies of a file of one block, when there are as many as there should be. */
async function blockFiles(cluster: HdfsCluster, path: string): Promise<string[]> {
  for (const deadline = Date.now() + 180_000; ; await sleep(100)) {
    const report = await fsck(cluster, path);
    const [, block = ''] = /(blk_\d+)_\d+ len=/.exec(report) ?? [];
    const live = Number(/Live_repl=(\d+)/.exec(report)?.[1] ?? 0);
    const wanted = Number(/replication=(\d+)/.exec(report)?.[1] ?? 0);
    const nodes = [...report.matchAll(/DatanodeInfoWithStorage\[127\.0\.1\.(\d+):/g)].map(
      ([, number]) => number,
    );
    if (block !== '' && live === wanted && nodes.length === wanted)
      return Promise.all(nodes.map((number) => blockFile(join(cluster.dir, 'state', `dn${number}`), block)));
    if (Date.now() > deadline) throw new Error(`${path} did not get its copies: ${report}`);
  }
}

async function blockFile(directory: string, block: string): Promise<string> {
  const { stdout } = await run('find', [directory, '-path', '*/finalized/*', '-name', block]);
  if (stdout.trim() === '') throw new Error(`no ${block} below ${directory}`);
  return stdout.trim();
}

/** What the NameNode knows of a file, without the start of another JVM. */
async function fsck(cluster: HdfsCluster, path: string): Promise<string> {
  const url = new URL('/fsck', nameNodesOf(cluster.url)[0]);
  url.search = new URLSearchParams({ ugi: 'root', path, files: '1', blocks: '1', locations: '1' }).toString();
  return (await fetch(url)).text();
}
