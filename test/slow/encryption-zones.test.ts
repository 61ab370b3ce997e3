// SPDX-License-Identifier: Apache-2.0
/** Stores in encryption zones of a real HDFS, whose keys lie in a key provider of its own. */
import { randomBytes } from 'node:crypto';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { HdfsStore } from '../../src/stores/hdfs/hdfs-store.js';
import { initHdfsStore } from '../../src/stores/hdfs/init.js';
import { putProved } from '../../src/stores/proved-object.js';
import type { StoredObject } from '../../src/stores/store.js';
import { failure, storeContract } from '../contract/store.js';
import { expectSound } from '../support/guest-judge.js';
import { HdfsCluster } from '../support/hdfs-cluster.js';
import { hdfsFixture, spoilFirstBlock } from '../support/hdfs-store.js';
import { labMissing } from '../support/lab.js';
import { ParsHost } from '../support/pars-host.js';

const CODING = 'XOR-2-1-1024k';
const CRITICAL = { copies: 3, critical: true };
const CODED = { copies: 1, critical: true, coding: CODING };
const ZONE = '/zone';

describe.skipIf(labMissing() !== undefined)('encryption zones', () => {
  let cluster: HdfsCluster;

  beforeAll(async () => {
    const settings = { 'dfs.client.retry.window.base': '10' };
    cluster = await HdfsCluster.start({ dataNodes: 3, zones: true, policies: [CODING], settings });
    await cluster.createZone(ZONE);
  });
  afterAll(() => cluster?.stop());

  storeContract('webhdfs: in a zone', () => hdfsFixture(cluster, ZONE), 3);

  const expectWhole = async (store: HdfsStore, object: StoredObject): Promise<void> => {
    const health = await store.inspect(object, { read: true });
    expect(health, object.name).toMatchObject({ good: health.wanted, faults: [] });
  };

  it('a zone with its trash becomes a store, and says what the zone protects', async () => {
    await cluster.createZone('/whole');
    const url = `${cluster.url}/whole`;
    const [fact] = (await initHdfsStore(url)).facts;
    expect(fact).toMatch(/encryption zone.* on the network it does not/);
    const store = new HdfsStore(url);
    expect((await store.status()).facts).toEqual([fact]);
    await store.refuseCoding(CODING);
    for (const terms of [CRITICAL, CODED])
      await expectWhole(store, await putProved(store, `g/s/${terms.copies}`, terms, randomBytes(3 << 20)));
    const plain = await hdfsFixture(cluster);
    expect((await plain.store.status()).facts).toEqual([]);
    await plain.dispose();
  });

  it('a store may reach over the borders of zones, and leaves them when they are empty', async () => {
    const { store, client, root, dispose } = await hdfsFixture(cluster);
    await store.refuseCoding(CODING);
    for (const zone of [`${root}/in`, `${root}/.ec/${CODING}/in`]) await cluster.createZone(zone);
    const objects: StoredObject[] = [];
    for (const guest of ['in', 'out'])
      for (const terms of [CRITICAL, CODED])
        for (const bytes of [1000, 3 << 20])
          objects.push(
            await putProved(store, `${guest}/s/${terms.copies}-${bytes}`, terms, randomBytes(bytes)),
          );
    expect(await store.createExclusive('in/s/claim', Buffer.from('mine'), { copies: 3 })).toBe(true);
    expect(await store.createExclusive('in/s/claim', Buffer.from('yours'), { copies: 3 })).toBe(false);
    for (const object of objects) {
      await expectWhole(store, object);
      const path = `${root}${object.coding === undefined ? '' : `/.ec/${CODING}`}/${object.name}`;
      expect((await client.status(path)).encBit ?? false, path).toBe(object.name.startsWith('in/'));
    }
    await store.remove('in/s');
    await store.remove('out/s');
    expect(await store.list('')).toEqual(['in']);
    expect((await client.status(`${root}/in`)).encBit).toBe(true);
    await dispose();
  });

  test('a guest is stored in one, verified, repaired and resumed', async () => {
    const host = await ParsHost.start({ store: `${cluster.url}${ZONE}/guests` });
    try {
      await host.installHook();
      const guest = await host.boot();
      await guest.managedSave();
      await host.untilStub(guest.hostImagePath);
      const snapshot = await host.snapshotOf(guest);
      await host.pars('verify', snapshot);
      await spoilFirstBlock(cluster, `${ZONE}/guests/${snapshot}/clean-cache.0`);
      expect((await host.try('verify', snapshot)).code).toBe(5);
      await host.pars('verify', snapshot, '--repair');
      await host.pars('verify', snapshot);
      expect(await host.pars('doctor').catch((error: Error) => error.message)).toContain('encryption zone');
      await guest.start();
      await expectSound(guest);
    } finally {
      await host.stop();
    }
  });

  // Last: the DataNodes start again.
  it('that have lost their key are unreachable, not corrupt, and all is there when it is back', async () => {
    const { store, root, reopen } = await hdfsFixture(cluster, ZONE);
    const object = await putProved(store, 'g/s/x', CRITICAL, randomBytes(3 << 20));
    const keys = join(cluster.dir, 'state', 'keys.jceks');
    await rename(keys, `${keys}.away`);
    await restartDataNodes(cluster);
    const attempts = [
      reopen().status(),
      store.readWhole('g/s/x', () => true),
      putProved(store, 'g/s/y', CRITICAL, randomBytes(1000)),
    ];
    for (const error of await Promise.all(attempts.map((attempt) => failure(attempt, 'unreachable')))) {
      expect(error.message).toContain("KeyVersion name 'pars@0' does not exist");
      expect(error.hint).toContain('KMS');
    }
    expect((await store.inspect(object, { read: true })).faults.map(({ fault }) => fault)).toEqual(
      Array.from({ length: 3 }, () => 'unreachable'),
    );
    await rename(`${keys}.away`, keys);
    await restartDataNodes(cluster);
    await expectWhole(new HdfsStore(`${cluster.url}${root}`), object);
  });
});

async function restartDataNodes(cluster: HdfsCluster): Promise<void> {
  for (const number of [1, 2, 3]) {
    await cluster.kill('dn', number);
    await cluster.startDaemon('dn', number);
  }
}
