// SPDX-License-Identifier: Apache-2.0
/**
 * The WebHDFS client against HttpFS: a gateway that hands the data through itself, in front of an HA pair.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  readRange,
  sameChecksum,
  upload,
  WebHdfsClient,
  type CreateOptions,
} from '../../src/webhdfs/index.js';
import { HdfsCluster } from '../support/hdfs-cluster.js';
import { labMissing } from '../support/lab.js';

const MIB = 1024 * 1024;
const data = Buffer.from(Array.from({ length: 3 * MIB + 5 }, (_, i) => (i * 2654435761) >>> 24));
const plain: CreateOptions = { replication: 2, blockSize: MIB };

describe.skipIf(labMissing() !== undefined)('the WebHDFS client through HttpFS', () => {
  let cluster: HdfsCluster;
  let client: WebHdfsClient;
  beforeAll(async () => {
    cluster = await HdfsCluster.start({ dataNodes: 2, ha: true, httpfs: true });
    client = new WebHdfsClient({ nameNodes: [await cluster.httpfs()], user: 'root' });
    await client.makeDirectories('/t', { permission: '700' });
  });
  afterAll(() => cluster?.stop());

  async function expectWhole(path: string): Promise<void> {
    const read: Buffer[] = [];
    for await (const piece of readRange(client, path, { offset: 3, length: data.length - 3 }))
      read.push(piece);
    expect(Buffer.compare(Buffer.concat(read), data.subarray(3))).toBe(0);
  }

  it('writes, checks and reads', async () => {
    const sent = await upload(client, '/t/data', [data.subarray(0, MIB), data.subarray(MIB)], {
      ...plain,
      permission: '600',
    });
    expect(await client.status('/t/data')).toMatchObject({
      type: 'FILE',
      length: data.length,
      permission: '600',
      replication: 2,
      blockSize: MIB,
      owner: 'root',
    });
    expect(sameChecksum(sent.checksum, await client.checksum('/t/data'))).toBe(true);
    await expectWhole('/t/data');
  });

  it('lists, renames, counts, sets and deletes', async () => {
    await client.makeDirectories('/t/dir/sub');
    await upload(client, '/t/dir/a', [data], plain);
    const names: string[] = [];
    for await (const { pathSuffix } of client.list('/t/dir')) names.push(pathSuffix);
    expect(names.sort()).toEqual(['a', 'sub']);
    expect(await client.rename('/t/dir/a', '/t/dir/b')).toBe(true);
    expect(await client.setReplication('/t/dir/b', 1)).toBe(true);
    await client.setPermission('/t/dir/b', '640');
    expect(await client.status('/t/dir/b')).toMatchObject({ replication: 1, permission: '640' });
    expect((await client.blockLocations('/t/dir/b')).map(({ offset }) => offset)).toEqual([
      0,
      MIB,
      2 * MIB,
      3 * MIB,
    ]);
    expect(await client.contentSummary('/t/dir')).toMatchObject({
      fileCount: 1,
      length: data.length,
      spaceConsumed: data.length,
    });
    await client.setErasureCoding('/t/dir/sub', 'RS-3-2-1024k');
    expect(await client.erasureCoding('/t/dir/sub')).toBe('RS-3-2-1024k');
    expect(await client.delete('/t/dir', { recursive: true })).toBe(true);
  });

  it('types the errors', async () => {
    await expect(client.status('/t/none')).rejects.toThrow(
      expect.objectContaining({ kind: 'missing' }) as Error,
    );
    await expect(upload(client, '/t/data', [data], plain)).rejects.toThrow(
      expect.objectContaining({ kind: 'exists' }) as Error,
    );
    const nobody = new WebHdfsClient({ nameNodes: [await cluster.httpfs()], user: 'nobody' });
    await expect(nobody.status('/t/data')).rejects.toThrow(
      expect.objectContaining({ kind: 'denied' }) as Error,
    );
  });

  it('does not see a failover behind it', async () => {
    await cluster.failover(2);
    await upload(client, '/t/after', [data], plain);
    await expectWhole('/t/after');
  });
});
