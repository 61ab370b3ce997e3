/** The laboratory's HDFS is a real one: nodes with addresses of their own. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HdfsCluster } from '../support/hdfs-cluster.js';
import { labMissing } from '../support/lab.js';

describe.skipIf(labMissing() !== undefined)('a cluster of the laboratory', () => {
  let cluster: HdfsCluster;
  beforeAll(async () => {
    cluster = await HdfsCluster.start({ dataNodes: 3 });
  });
  afterAll(() => cluster?.stop());

  it('has live DataNodes, which the NameNode knows by addresses of their own', async () => {
    expect((await cluster.status()).map(({ name, state }) => `${name} ${state}`)).toEqual(['nn1 active', 'dn1 live', 'dn2 live', 'dn3 live']);
    const report = await cluster.exec('dfsadmin', '-report');
    const addresses = [...report.matchAll(/^Name: (127\.0\.1\.\d+):/gm)].map(([, address]) => address).sort();
    expect(addresses).toEqual(['127.0.1.1', '127.0.1.2', '127.0.1.3']);
  });
});
