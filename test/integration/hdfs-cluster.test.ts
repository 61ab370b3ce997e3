// SPDX-License-Identifier: Apache-2.0
/**
 * The laboratory's HDFS is a real one: nodes with addresses of their own, which die and come back, and
 * NameNodes that take over.
 */
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HdfsCluster, HDFS_SCRIPT } from '../support/hdfs-cluster.js';
import { labMissing } from '../support/lab.js';

const run = promisify(execFile);

describe.skipIf(labMissing() !== undefined)('a cluster of the laboratory', () => {
  let cluster: HdfsCluster;
  beforeAll(async () => {
    cluster = await HdfsCluster.start({ dataNodes: 3, ha: true });
  });
  afterAll(() => cluster?.stop());

  const states = async (): Promise<string[]> =>
    (await cluster.status()).map(({ name, state }) => `${name} ${state}`);
  const processOf = async (name: string): Promise<number | undefined> =>
    (await cluster.status()).find((daemon) => daemon.name === name)?.pid;

  it(
    'has two NameNodes and live DataNodes, known by addresses of their own, and nothing beyond the '
      + 'loopback interface',
    async () => {
      expect(await states()).toEqual(['nn1 active', 'nn2 standby', 'dn1 live', 'dn2 live', 'dn3 live']);
      const report = await cluster.exec('dfsadmin', '-report');
      const addresses = [...report.matchAll(/^Name: (127\.0\.1\.\d+):/gm)]
        .map(([, address]) => address)
        .sort();
      expect(addresses).toEqual(['127.0.1.1', '127.0.1.2', '127.0.1.3']);
      const processes = (await cluster.status()).map(({ pid }) => pid);
      const listening = (await Promise.all(processes.map(listeners))).flat();
      expect(listening.length).toBeGreaterThanOrEqual(2 * 2 + 3 * 3);
      expect(listening.filter((address) => !address.startsWith('127.'))).toEqual([]);
    },
  );

  it('loses a DataNode and gets it back as another process with the same data', async () => {
    const before = await processOf('dn2');
    await cluster.kill('dn', 2);
    expect(await states()).toContain('dn2 down');
    await cluster.startDaemon('dn', 2);
    expect(await states()).toContain('dn2 live');
    expect(await processOf('dn2')).not.toBe(before);
  });

  it('fails over to the other NameNode and back, also when one is dead', async () => {
    await cluster.failover(2);
    expect(await states()).toEqual(expect.arrayContaining(['nn1 standby', 'nn2 active']));
    await cluster.kill('nn', 2);
    await cluster.failover(1);
    expect(await states()).toEqual(expect.arrayContaining(['nn1 active', 'nn2 down']));
    await cluster.startDaemon('nn', 2);
    expect(await states()).toEqual(['nn1 active', 'nn2 standby', 'dn1 live', 'dn2 live', 'dn3 live']);
  });

  it('has a neighbour on other ports, which ends with its owner', async () => {
    const dir = await mkdtemp(join(process.env['TMPDIR'] ?? '/var/tmp', 'pars-hdfs.'));
    const owner = spawn('sleep', ['infinity']);
    const neighbour = (...args: string[]) => run(HDFS_SCRIPT, ['-C', dir, ...args]);
    try {
      await neighbour('up', '1', '--owner', String(owner.pid), '--port', '19510');
      expect((await neighbour('url')).stdout).toBe('webhdfs://127.0.0.1:19510\n');
      expect((await neighbour('status')).stdout).toMatch(/^nn1 +active .*\ndn1 +live .*\n$/);
    } finally {
      const holder = Number(await readFile(join(dir, 'holder'), 'utf8'));
      owner.kill();
      await run('tail', [`--pid=${holder}`, '-s', '0.05', '-f', '/dev/null'], { timeout: 180_000 });
      await neighbour('down');
    }
    expect(await states()).toContain('dn1 live');
  });

  it('is gone with all its processes and files when it is stopped', async () => {
    const processes = (await cluster.status()).map(({ pid }) => pid);
    await cluster.stop();
    for (const pid of processes) await expect(readlink(`/proc/${pid}/exe`)).rejects.toThrow(/ENOENT/);
    await expect(readFile(join(cluster.dir, 'cluster'))).rejects.toThrow(/ENOENT/);
  });
});

/** Address of every socket that a process listens on. */
async function listeners(pid: number): Promise<string[]> {
  const files = await Promise.all(
    (await readdir(`/proc/${pid}/fd`)).map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')),
  );
  const sockets = new Set(files.map((file) => /^socket:\[(\d+)\]$/.exec(file)?.[1]));
  const tables = await Promise.all(
    ['tcp', 'tcp6'].map((table) => readFile(`/proc/${pid}/net/${table}`, 'utf8')),
  );
  const rows = tables
    .join('')
    .split('\n')
    .map((line) => line.trim().split(/\s+/));
  return rows.filter((row) => row[3] === '0A' && sockets.has(row[9])).map((row) => addressOf(row[1] ?? ''));
}

/** 0100007F:1F90 is 127.0.0.1:8080. */
const addressOf = (hex: string): string =>
  [...Buffer.from(hex.split(':')[0] ?? '', 'hex').reverse()].join('.')
  + `:${parseInt(hex.split(':')[1] ?? '', 16)}`;
