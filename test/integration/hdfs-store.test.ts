// SPDX-License-Identifier: Apache-2.0
/** The store in HDFS against a real cluster: one NameNode, three DataNodes with addresses of their own. */
import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { HdfsStore } from '../../src/stores/hdfs/hdfs-store.js';
import { initHdfsStore } from '../../src/stores/hdfs/init.js';
import { nameNodesOf, upload } from '../../src/webhdfs/index.js';
import { failure, put, storeContract } from '../contract/store.js';
import { HdfsCluster } from '../support/hdfs-cluster.js';
import { hdfsFixture, type HdfsFixture } from '../support/hdfs-store.js';
import { labMissing } from '../support/lab.js';

const DAY = 24 * 3_600_000;
const CODING = 'XOR-2-1-1024k';

describe.skipIf(labMissing() !== undefined)('in HDFS', () => {
  let cluster: HdfsCluster;

  beforeAll(async () => {
    const settings = {
      // A DataNode that looks for another copy of a bad block waits for seconds between its tries by default.
      'dfs.client.retry.window.base': '10',
      // Else a block starts with two copies when the third DataNode seems busy; HDFS makes the third soon
      // after, and syncs it on no one's word.
      'dfs.namenode.redundancy.considerLoad': 'false',
    };
    cluster = await HdfsCluster.start({ dataNodes: 3, settings, policies: [CODING] });
  });
  afterAll(() => cluster?.stop());

  // The first test, and counted from a DataNode's start: one that was just asked, or has just started, tells
  // older counters for some seconds.
  it('has what is critical synced to the disk by every DataNode, and nothing else (R21)', async () => {
    const { store, dispose } = await hdfsFixture(cluster);
    await putAs(store, 'g/s/expendable', false);
    await putAs(store, 'g/s/critical', true);
    const markerAndCritical = [2, 2, 2];
    await expect
      .poll(() => syncsOf(cluster), { timeout: 180_000, interval: 1000 })
      .toEqual(markerAndCritical);
    await dispose();
  });

  storeContract('webhdfs:', () => hdfsFixture(cluster), 3);

  describe('a store', () => {
    let fixture: HdfsFixture;
    let store: HdfsStore;

    beforeEach(async () => {
      fixture = await hdfsFixture(cluster);
      ({ store } = fixture);
    });
    afterEach(async () => {
      await store.close();
      await fixture.dispose();
    });

    it('is never written without its marker, and init makes one once (R22)', async () => {
      const { storeId } = await store.status();
      expect(await initHdfsStore(fixture.url)).toMatchObject({ storeId, marked: false });
      await fixture.client.delete(`${fixture.root}/pars-store.json`);
      expect(
        (
          await failure(
            new HdfsStore(fixture.url).create('g/s/x', { copies: 1, critical: false }),
            'unreachable',
          )
        ).hint,
      ).toContain('pars store init');
      await upload(fixture.client, `${fixture.root}/photo.jpg`, [], { replication: 1, blockSize: 1 << 20 });
      expect((await failure(initHdfsStore(fixture.url), 'refused')).message).toContain('photo.jpg');
    });

    it('keeps files from others: 0700 and 0600 (R24)', async () => {
      await put(store, 'g/s/x', randomBytes(10), 1);
      for (const path of ['', '/g', '/g/s'])
        expect((await fixture.client.status(fixture.root + path)).permission, path).toBe('700');
      for (const path of ['/g/s/x', '/pars-store.json'])
        expect((await fixture.client.status(fixture.root + path)).permission, path).toBe('600');
    });

    it('gives each DataNode its share of what has one copy', async () => {
      const names = Array.from({ length: 9 }, (_, i) => `g/s/clean-cache.${i}`);
      for (const name of names) await put(store, name, randomBytes(4 << 20), 1);
      const holders = await Promise.all(
        names.map(async (name) =>
          (await fixture.client.blockLocations(`${fixture.root}/${name}`)).map(({ names: [only] }) => only),
        ),
      );
      const files = new Map<string, number>();
      for (const [only = 'nobody'] of holders) files.set(only, (files.get(only) ?? 0) + 1);
      expect([...files.values()]).toEqual([3, 3, 3]);
    });

    it('takes little quota for little files, and says when there is none', async () => {
      await cluster.exec('dfsadmin', '-setSpaceQuota', '20m', fixture.root);
      const room = (await store.status()).freeBytes ?? NaN;
      expect(room).toBeGreaterThan(15 << 20);
      expect(room).toBeLessThanOrEqual(20 << 20);
      await put(store, 'g/s/small', randomBytes(100_000), 3);
      const error = await failure(put(store, 'g/s/large', randomBytes(8 << 20), 3), 'no-space');
      expect(error.hint).toContain('setSpaceQuota');
      expect(await store.list('g/s')).toEqual(['small']);
    });

    it('sweeps what killed writers left, by the NameNode clock, never younger than a day', async () => {
      const [old, young] = ['.x.0123456789ab.tmp', '.y.0123456789ab.tmp'].map(
        (name) => `${fixture.root}/g/s/${name}`,
      ) as [string, string];
      for (const path of [old, young])
        await upload(fixture.client, path, [Buffer.from('left')], { replication: 1, blockSize: 1 << 20 });
      await setTime(cluster, old, Date.now() - DAY - 3_600_000);
      await setTime(cluster, young, Date.now() - DAY + 3_600_000);
      expect(await store.sweep({ olderThanMs: 0, dryRun: true })).toBe(1);
      expect(await store.sweep({ olderThanMs: 0, dryRun: false })).toBe(1);
      await expect(fixture.client.status(old)).rejects.toMatchObject({ kind: 'missing' });
      expect((await fixture.client.status(young)).length).toBe(4);
      await put(store, 'g/s/z', randomBytes(10), 1);
      expect(await store.age('g/s/z')).toBeLessThan(60_000);
    });

    // Last: the cluster has two nodes less from here on.
    it('finds no coded object good that it could not read', async () => {
      await store.refuseCoding(CODING);
      const writer = await store.create('g/s/coded', { copies: 1, coding: CODING, critical: true });
      await writer.write(randomBytes(3 << 20));
      const object = await writer.close();
      expect(await store.inspect(object, { read: true })).toMatchObject({ good: 2, wanted: 2, faults: [] });
      for (const number of [1, 2]) await cluster.kill('dn', number);
      expect(await store.inspect(object, { read: true })).toMatchObject({
        good: 0,
        wanted: 2,
        faults: [{ fault: 'unreachable' }],
      });
      expect(await store.inspect(object, { read: false }), 'the NameNode does not know yet').toMatchObject({
        good: 2,
      });
    });
  });
});

async function putAs(store: HdfsStore, name: string, critical: boolean): Promise<void> {
  const writer = await store.create(name, { copies: 3, critical });
  await writer.write(randomBytes(100_000));
  await store.verify(await writer.close());
}

/** How often each DataNode has synced a file of a block: its own account. */
async function syncsOf(cluster: HdfsCluster): Promise<number[]> {
  const nodes = (await cluster.status()).filter(({ name }) => name.startsWith('dn'));
  return Promise.all(
    nodes.map(async ({ http }) => {
      const { beans } = (await (
        await fetch(`http://${http}/jmx?qry=Hadoop:service=DataNode,name=DataNodeActivity-*`)
      ).json()) as { beans: { FsyncCount: number }[] };
      return beans[0]?.FsyncCount ?? NaN;
    }),
  );
}

async function setTime(cluster: HdfsCluster, path: string, time: number): Promise<void> {
  const query = `op=SETTIMES&user.name=root&modificationtime=${time}`;
  const url = `${nameNodesOf(cluster.url)[0]}/webhdfs/v1${path}?${query}`;
  expect((await fetch(url, { method: 'PUT' })).status).toBe(200);
}
