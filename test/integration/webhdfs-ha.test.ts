// SPDX-License-Identifier: Apache-2.0
/**
 * The WebHDFS client on an HA pair: NameNodes that hand over, die, start and are missing, in the midst of
 * everything.
 */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  nameNodesOf,
  openRange,
  readRange,
  sameChecksum,
  Upload,
  upload,
  WebHdfsClient,
  type CreateOptions,
  type WebHdfsFailure,
} from '../../src/webhdfs/index.js';
import { HdfsCluster } from '../support/hdfs-cluster.js';
import { labMissing } from '../support/lab.js';

const MIB = 1024 * 1024;
const plain: CreateOptions = { replication: 3, blockSize: MIB };
const failure = (kind: WebHdfsFailure, exception?: string) =>
  expect.objectContaining({ name: 'WebHdfsError', kind, ...(exception && { exception }) }) as Error;

/** Data that differs everywhere. */
const data = Buffer.concat(
  Array.from({ length: (6 * MIB) / 32 }, (_, i) => createHash('sha256').update(String(i)).digest()),
);

describe.skipIf(labMissing() !== undefined)('the WebHDFS client on an HA pair', () => {
  let cluster: HdfsCluster;
  let client: WebHdfsClient;
  /** Knows one NameNode only, and is not patient. */
  const alone = (number: 1 | 2, patienceMs = 100): WebHdfsClient =>
    new WebHdfsClient({ nameNodes: [nameNodesOf(cluster.url)[number - 1] ?? ''], user: 'root', patienceMs });

  beforeAll(async () => {
    cluster = await HdfsCluster.start({ dataNodes: 3, ha: true });
    client = new WebHdfsClient({ nameNodes: nameNodesOf(cluster.url), user: 'root' });
    await client.makeDirectories('/t');
    await upload(client, '/t/data', [data], plain);
  });
  afterAll(() => cluster?.stop());

  async function expectWhole(path: string, sent: { bytes: number; checksum: string }): Promise<void> {
    expect(sent.bytes).toBe(data.length);
    expect((await client.status(path)).length).toBe(data.length);
    expect(sameChecksum(sent.checksum, await client.checksum(path))).toBe(true);
    expect(
      Buffer.compare(await collect(readRange(client, path, { offset: 0, length: data.length })), data),
    ).toBe(0);
  }

  it(
    'goes past a standby to the active one, whichever is named first, and says standby when there is '
      + 'no other',
    async () => {
      await expect(alone(2).status('/t/data')).rejects.toThrow(failure('standby', 'StandbyException'));
      const backwards = new WebHdfsClient({ nameNodes: nameNodesOf(cluster.url).reverse(), user: 'root' });
      expect(await backwards.status('/t/data')).toMatchObject({ length: data.length });
      await backwards.makeDirectories('/t/backwards');
      expect(await backwards.rename('/t/backwards', '/t/forwards')).toBe(true);
    },
  );

  it('goes on with an upload and a read in the midst of a failover, and of one back', async () => {
    for (const to of [2, 1]) {
      const path = `/t/over-${to}`;
      const file = await Upload.begin(client, path, plain);
      await file.write(data.subarray(0, 2 * MIB));
      const reading = readRange(client, '/t/data', { offset: 0, length: data.length });
      const first = await reading.next();
      await cluster.failover(to);
      await file.write(data.subarray(2 * MIB));
      await expectWhole(path, await file.close());
      expect(
        Buffer.compare(Buffer.concat([first.value ?? Buffer.alloc(0), await collect(reading)]), data),
      ).toBe(0);
      expect(await client.setReplication(path, 2)).toBe(true);
      await expect(alone(to === 1 ? 2 : 1).status(path)).rejects.toThrow(failure('standby'));
    }
  });

  it('waits while the active one is dead, and goes on with the other', async () => {
    const file = await Upload.begin(client, '/t/orphaned', plain);
    await file.write(data.subarray(0, MIB));
    await cluster.kill('nn', 1);
    const asked = client.status('/t/data');
    const made = client.makeDirectories('/t/while-none');
    await expect(alone(1).status('/t/data')).rejects.toThrow(failure('unreachable', 'ECONNREFUSED'));
    await cluster.failover(2);
    expect(await asked).toMatchObject({ length: data.length });
    await made;
    expect(await client.status('/t/while-none')).toMatchObject({ type: 'DIRECTORY' });
    await file.write(data.subarray(MIB));
    await expectWhole('/t/orphaned', await file.close());
  });

  it('waits for a NameNode that starts, and is told by it whether it is the active one', async () => {
    // Refused connections, RetriableException, StandbyException: whatever it says on its way is no error
    // before the patience ends.
    const patient = alone(1, 60_000);
    const asked = patient.status('/t/data');
    await cluster.startDaemon('nn', 1);
    await cluster.failover(1);
    expect(await asked).toMatchObject({ length: data.length });
    expect(await patient.delete('/t/over-1')).toBe(true);
  });

  it('does not hang when no NameNode is active: no question, no upload, no end of one', async () => {
    const hasty = new WebHdfsClient({
      nameNodes: nameNodesOf(cluster.url),
      user: 'root',
      requestMs: 2000,
      patienceMs: 2000,
    });
    const file = await Upload.begin(hasty, '/t/hanging', plain);
    await file.write(data.subarray(0, MIB));
    await cluster.exec('haadmin', '-transitionToStandby', 'nn1');
    await expect(hasty.status('/t/data')).rejects.toThrow(failure('standby'));
    await expect(upload(hasty, '/t/none', [data], plain)).rejects.toThrow(failure('standby'));
    await expect(collect(openRange(hasty, '/t/data', { offset: 0, length: 1 }))).rejects.toThrow(
      failure('standby'),
    );
    await expect(file.write(data.subarray(MIB)).then(() => file.close())).rejects.toThrow(failure('timeout'));
    const stop = new AbortController();
    const asked = client.status('/t/data', { signal: stop.signal });
    stop.abort();
    await expect(asked).rejects.toThrow(failure('aborted'));
    await cluster.exec('haadmin', '-transitionToActive', 'nn1');
    expect(await client.status('/t/data')).toMatchObject({ length: data.length });
  });
});

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}
