// SPDX-License-Identifier: Apache-2.0
/**
 * The DataNodes that an upload of this process runs through, and the disks of DataNodes, as the machine sees
 * them.
 */
import { execFile } from 'node:child_process';
import { readdir, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Daemon, HdfsCluster } from './hdfs-cluster.js';
import { numberOf } from './hdfs-holders.js';

const run = promisify(execFile);
const FILLER = 'filler';

export interface Pipeline {
  /** Takes the data from us. */
  receiver: number;
  /** Those it passes the data on to. */
  others: number[];
}

/**
 * Of the upload that has sent most; waits until a block of it is being written by as many DataNodes as it has
 * copies.
 */
export async function pipelineOf(cluster: HdfsCluster, copies = 3, deadlineMs = 180_000): Promise<Pipeline> {
  const daemons = (await cluster.status()).filter(
    ({ name, state }) => name.startsWith('dn') && state !== 'down',
  );
  for (const deadline = Date.now() + deadlineMs; ; await sleep(50)) {
    const known = await knownBlocks(cluster);
    const [receiver, writers] = await Promise.all([
      busiestReceiver(daemons),
      writersOfLargest(cluster, daemons, { copies, known }),
    ]);
    if (receiver !== null && writers.includes(receiver))
      return { receiver, others: writers.filter((number) => number !== receiver) };
    if (Date.now() > deadline)
      throw new Error(`no upload under way: most was sent to ${receiver}; writing: ${writers.join()}`);
  }
}

/** Leaves no room on the disks of these DataNodes, which must be disks of their own (diskMiB). */
export async function fillDisks(cluster: HdfsCluster, numbers: readonly number[]): Promise<void> {
  for (const disk of await disksOf(cluster, numbers)) {
    const { bavail, bsize } = await statfs(disk);
    await run('fallocate', ['-l', String(bavail * bsize), join(disk, FILLER)]);
  }
}

export async function emptyDisks(cluster: HdfsCluster, numbers: readonly number[]): Promise<void> {
  for (const disk of await disksOf(cluster, numbers)) await rm(join(disk, FILLER), { force: true });
}

/** Their mounts are in the cluster's own namespace. */
async function disksOf(cluster: HdfsCluster, numbers: readonly number[]): Promise<string[]> {
  const daemons = await cluster.status();
  return numbers.map((number) => {
    const daemon = daemons.find(({ name }) => name === `dn${number}`);
    if (!daemon) throw new Error(`there is no dn${number}`);
    return diskOf(cluster, daemon);
  });
}

const diskOf = (cluster: HdfsCluster, { name, pid }: Daemon): string =>
  `/proc/${pid}/root${cluster.dir}/state/${name}`;

/** The DataNode whose web port was sent the most over a connection that is open. */
async function busiestReceiver(daemons: readonly Daemon[]): Promise<number | null> {
  const { stdout } = await run('ss', [
    '--tcp',
    '--numeric',
    '--info',
    '--oneline',
    '--no-header',
    'state',
    'established',
  ]);
  const sent = stdout
    .split('\n')
    .map((line) => ({
      to: line.trim().split(/\s+/)[3] ?? '',
      bytes: Number(/bytes_sent:(\d+)/.exec(line)?.[1] ?? 0),
    }));
  const [most] = sent
    .filter(({ to }) => daemons.some(({ http }) => http === to))
    .sort((a, b) => b.bytes - a.bytes);
  return most === undefined ? null : numberOf(most.to);
}

/**
 * Of every file there is, finished or not. Blocks of removed files stay unfinished on DataNodes until these
 * report all they have.
 */
async function knownBlocks(cluster: HdfsCluster): Promise<ReadonlySet<string>> {
  const files = await cluster.exec('fsck', '/', '-openforwrite', '-files', '-blocks');
  return new Set(Array.from(files.matchAll(/:(blk_\d+)_/g), ([, block]) => block!));
}

/**
 * The DataNodes that write the largest block that is not finished. What a killed one has left of a block is
 * on fewer.
 */
async function writersOfLargest(
  cluster: HdfsCluster,
  daemons: readonly Daemon[],
  { copies, known }: { copies: number; known: ReadonlySet<string> },
): Promise<number[]> {
  const open = await Promise.all(
    daemons.map(async (daemon) => ({
      number: Number(daemon.name.slice(2)),
      blocks: await openBlocks(diskOf(cluster, daemon)),
    })),
  );
  const writersOf = (block: string): number[] =>
    open.filter(({ blocks }) => blocks.has(block)).map(({ number }) => number);
  const whole = open
    .flatMap(({ blocks }) => [...blocks])
    .filter(([block]) => known.has(block) && writersOf(block).length === copies);
  const [largest] = whole.sort(([, a], [, b]) => b - a);
  return largest === undefined ? [] : writersOf(largest[0]);
}

/** Their lengths by their names. */
async function openBlocks(disk: string): Promise<Map<string, number>> {
  const current = join(disk, 'data', 'current');
  const pools = (await readdir(current).catch(() => [])).filter((name) => name.startsWith('BP-'));
  const found = new Map<string, number>();
  for (const directory of pools.map((pool) => join(current, pool, 'current', 'rbw'))) {
    const names = (await readdir(directory).catch(() => [])).filter((name) => /^blk_\d+$/.test(name));
    for (const name of names)
      found.set(
        name,
        await stat(join(directory, name)).then(
          ({ size }) => size,
          () => 0,
        ),
      );
  }
  return found;
}
