// SPDX-License-Identifier: Apache-2.0
/** A real HDFS that knows its racks: what is told of where critical data lies. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkStore } from '../../src/doctor/store.js';
import { presetPolicy } from '../../src/policy/policy.js';
import { putProved } from '../../src/stores/proved-object.js';
import { HdfsCluster } from '../support/hdfs-cluster.js';
import { hdfsFixture } from '../support/hdfs-store.js';
import { labMissing } from '../support/lab.js';

describe.skipIf(labMissing() !== undefined)('a cluster with racks', () => {
  let cluster: HdfsCluster;
  beforeAll(async () => {
    cluster = await HdfsCluster.start({ dataNodes: 4, racks: 2 });
  });
  afterAll(() => cluster?.stop());

  it('tells that three copies lie on three hosts in two racks, and when they lie in one', async () => {
    const { store, dispose } = await hdfsFixture(cluster);
    const object = await putProved(store, 'g/s/x', { copies: 3, critical: true }, randomBytes(3 << 20));
    const wide = { copies: 3, disks: null, hosts: 3, racks: 2 };
    for (const read of [true, false]) expect((await store.inspect(object, { read })).placement).toEqual(wide);
    const checks = await checkStore(store, presetPolicy('lean'), String);
    expect(checks.find(({ name }) => name === 'store placement')).toMatchObject({
      outcome: 'ok',
      found: 'critical data is kept as 3 copies on 3 hosts in 2 racks',
    });
    // DataNodes 2 and 4 are the second rack.
    for (const number of [2, 4]) await cluster.kill('dn', number);
    await expect
      .poll(async () => (await store.inspect(object, { read: false })).placement, { timeout: 60_000 })
      .toMatchObject({ copies: 2, hosts: 2, racks: 1 });
    await dispose();
  });
});
