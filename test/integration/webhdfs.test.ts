// SPDX-License-Identifier: Apache-2.0
/** The WebHDFS client against a real cluster: one NameNode, three DataNodes with addresses of their own. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  WebHdfsClient,
  nameNodesOf,
  openRange,
  readRange,
  sameChecksum,
  Upload,
  upload,
  type CreateOptions,
  type WebHdfsFailure,
} from '../../src/webhdfs/index.js';
import { HdfsCluster } from '../support/hdfs-cluster.js';
import { labMissing } from '../support/lab.js';

const MIB = 1024 * 1024;
const plain: CreateOptions = { replication: 3, blockSize: MIB };

/** Data that differs everywhere, so a piece in the wrong place is seen. */
function noise(bytes: number, seed = 'pars'): Buffer {
  const parts: Buffer[] = [];
  for (let i = 0; i * 32 < bytes; i++) parts.push(createHash('sha256').update(`${seed} ${i}`).digest());
  return Buffer.concat(parts).subarray(0, bytes);
}

const pieces = (data: Buffer, size: number): Buffer[] =>
  Array.from({ length: Math.ceil(data.length / size) }, (_, i) => data.subarray(i * size, (i + 1) * size));

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

const failure = (kind: WebHdfsFailure, exception?: string) =>
  expect.objectContaining({ name: 'WebHdfsError', kind, ...(exception && { exception }) }) as Error;

describe.skipIf(labMissing() !== undefined)('the WebHDFS client', () => {
  let cluster: HdfsCluster;
  let root: WebHdfsClient;
  let nobody: WebHdfsClient;
  const data = noise(5 * MIB + 777);

  beforeAll(async () => {
    cluster = await HdfsCluster.start({ dataNodes: 3 });
    const nameNodes = nameNodesOf(cluster.url);
    root = new WebHdfsClient({ nameNodes, user: 'root' });
    nobody = new WebHdfsClient({ nameNodes, user: 'nobody' });
    await root.makeDirectories('/t', { permission: '700' });
  });
  afterAll(() => cluster?.stop());

  it('sends a file whose checksum the cluster confirms, and reads any range of it', async () => {
    const sent = await upload(root, '/t/data', pieces(data, 300_001), { ...plain, permission: '600' });
    expect(sent.bytes).toBe(data.length);
    expect(sameChecksum(sent.checksum, await root.checksum('/t/data'))).toBe(true);
    expect(await root.status('/t/data')).toMatchObject({
      type: 'FILE',
      length: data.length,
      permission: '600',
      owner: 'root',
      replication: 3,
      blockSize: MIB,
    });
    for (const [offset, length] of [
      [0, data.length],
      [0, 1],
      [MIB - 1, 2],
      [3 * MIB + 5, MIB],
      [data.length - 1, 1],
    ] as const) {
      expect(
        Buffer.compare(
          await collect(openRange(root, '/t/data', { offset, length })),
          data.subarray(offset, offset + length),
        ),
      ).toBe(0);
    }
  });

  it.each([0, 1, 512, MIB, MIB + 1, 3 * MIB])(
    'computes the checksum of %i bytes as the cluster does, and notices another',
    async (bytes) => {
      const sent = await upload(root, `/t/sum-${bytes}`, bytes === 0 ? [] : [data.subarray(0, bytes)], {
        ...plain,
        replication: 1,
      });
      const theirs = await root.checksum(`/t/sum-${bytes}`);
      expect(sameChecksum(sent.checksum, theirs)).toBe(true);
      expect(sameChecksum('0'.repeat(32), theirs)).toBe(false);
    },
  );

  it('makes, lists in batches, renames, counts and deletes', async () => {
    await root.makeDirectories('/t/dir/sub', { permission: '750' });
    for (const name of ['a', 'b ?&%#', 'ü'])
      await upload(root, `/t/dir/${name}`, [Buffer.from(name)], { ...plain, replication: 1 });
    const names: string[] = [];
    for await (const { pathSuffix } of root.list('/t/dir')) names.push(pathSuffix);
    expect(names.sort()).toEqual(['a', 'b ?&%#', 'sub', 'ü']);
    expect(await root.rename('/t/dir/a', '/t/dir/sub/a')).toBe(true);
    expect(await root.rename('/t/dir/a', '/t/dir/sub/b')).toBe(false);
    expect(await root.contentSummary('/t/dir')).toMatchObject({
      fileCount: 3,
      directoryCount: 2,
      length: 9,
      spaceConsumed: 9,
    });
    await expect(root.delete('/t/dir')).rejects.toThrow(
      failure('not-empty', 'PathIsNotEmptyDirectoryException'),
    );
    expect(await root.delete('/t/dir', { recursive: true })).toBe(true);
    expect(await root.delete('/t/dir', { recursive: true })).toBe(false);
  });

  it('sets permission, replication, storage and erasure coding policies', async () => {
    await root.setPermission('/t/data', '640');
    expect(await root.setReplication('/t/data', 2)).toBe(true);
    expect(await root.setReplication('/t/none', 2)).toBe(false);
    expect(await root.status('/t/data')).toMatchObject({ permission: '640', replication: 2 });
    await root.setReplication('/t/data', 3);
    await root.setStoragePolicy('/t/data', 'HOT');
    await expect(root.setStoragePolicy('/t/data', 'NO_SUCH')).rejects.toThrow(failure('invalid'));
    await root.makeDirectories('/t/ec');
    expect(await root.erasureCoding('/t/ec')).toBeUndefined();
    await root.setErasureCoding('/t/ec', 'RS-3-2-1024k');
    expect(await root.erasureCoding('/t/ec')).toBe('RS-3-2-1024k');
  });

  it('tells where blocks live, and spreads those of one copy when asked', async () => {
    await upload(root, '/t/spread', pieces(data, MIB), {
      replication: 1,
      blockSize: 256 * 1024,
      createFlags: ['CREATE', 'IGNORE_CLIENT_LOCALITY'],
    });
    const locations = await root.blockLocations('/t/spread');
    expect(locations.map(({ offset }) => offset)).toEqual(
      Array.from({ length: 21 }, (_, i) => i * 256 * 1024),
    );
    // All on one node without the flag. A node that is busy may be left out.
    expect(new Set(locations.flatMap(({ hosts }) => hosts)).size).toBeGreaterThan(1);
    expect(
      (await root.blockLocations('/t/data', { offset: MIB, length: 1 })).map(({ offset }) => offset),
    ).toEqual([MIB]);
  });

  it('types the errors of either node', async () => {
    await expect(root.status('/t/none')).rejects.toThrow(failure('missing', 'FileNotFoundException'));
    await expect(collect(openRange(root, '/t/none', { offset: 0, length: 1 }))).rejects.toThrow(
      failure('missing', 'FileNotFoundException'),
    );
    await expect(nobody.status('/t/data')).rejects.toThrow(failure('denied', 'AccessControlException'));
    await expect(upload(nobody, '/t/theirs', [data], plain)).rejects.toThrow(
      failure('denied', 'AccessControlException'),
    );
    await expect(upload(root, '/t/data', [data], plain)).rejects.toThrow(
      failure('exists', 'FileAlreadyExistsException'),
    );
    expect(await root.status('/t/data')).toMatchObject({ length: data.length });
  });

  it('tells a quota of space or names that is used up', async () => {
    await root.makeDirectories('/t/space');
    await root.makeDirectories('/t/names');
    await cluster.exec('dfsadmin', '-setSpaceQuota', String(2 * MIB), '/t/space');
    await cluster.exec('dfsadmin', '-setQuota', '1', '/t/names');
    // A block is charged whole, three times.
    await expect(upload(root, '/t/space/small', [data.subarray(0, 1000)], plain)).rejects.toThrow(
      failure('quota', 'DSQuotaExceededException'),
    );
    await expect(upload(root, '/t/names/one', [data], plain)).rejects.toThrow(
      failure('quota', 'NSQuotaExceededException'),
    );
  });

  it('tells safe mode', async () => {
    await cluster.exec('dfsadmin', '-safemode', 'enter');
    try {
      await expect(root.makeDirectories('/t/safe')).rejects.toThrow(
        failure('safe-mode', 'SafeModeException'),
      );
      await expect(upload(root, '/t/safe', [data], plain)).rejects.toThrow(
        failure('safe-mode', 'SafeModeException'),
      );
      expect(await root.status('/t/data')).toMatchObject({ length: data.length });
    } finally {
      await cluster.exec('dfsadmin', '-safemode', 'leave');
    }
  });

  it('ends with the signal, before and midway', async () => {
    await expect(root.status('/t', { signal: AbortSignal.abort() })).rejects.toThrow(failure('aborted'));
    const stop = new AbortController();
    const file = await Upload.begin(root, '/t/cut', { ...plain, signal: stop.signal });
    await file.write(data);
    stop.abort();
    await expect(file.close()).rejects.toThrow(failure('aborted'));
    const stopReading = new AbortController();
    const reading = readRange(root, '/t/data', {
      offset: 0,
      length: data.length,
      signal: stopReading.signal,
    });
    expect((await reading.next()).done).toBe(false);
    stopReading.abort();
    await expect(collect(reading)).rejects.toThrow(failure('aborted'));
  });

  it('moves on from a NameNode that is not there, and gives up when none is', async () => {
    const nowhere = 'http://127.0.0.1:9';
    const both = new WebHdfsClient({ nameNodes: [nowhere, ...nameNodesOf(cluster.url)], user: 'root' });
    expect(await both.status('/t/data')).toMatchObject({ length: data.length });
    const none = new WebHdfsClient({ nameNodes: [nowhere], patienceMs: 500 });
    await expect(none.status('/t')).rejects.toThrow(failure('unreachable', 'ECONNREFUSED'));
  });

  it('has a deadline for a NameNode that hangs', async () => {
    const hasty = new WebHdfsClient({
      nameNodes: nameNodesOf(cluster.url),
      user: 'root',
      requestMs: 300,
      patienceMs: 1000,
    });
    await cluster.kill('nn', 1, 'STOP');
    try {
      await expect(hasty.status('/t')).rejects.toThrow(failure('timeout'));
    } finally {
      await cluster.kill('nn', 1, 'CONT');
    }
    expect(await root.status('/t')).toMatchObject({ type: 'DIRECTORY' });
  });

  // Last: the cluster has a node less from here on.
  it('reads and writes around a DataNode that is dead but not yet known to be', async () => {
    await upload(root, '/t/three', pieces(data, MIB), plain);
    await cluster.kill('dn', 2);
    for (let i = 0; i < 6; i++) {
      expect(
        Buffer.compare(await collect(readRange(root, '/t/three', { offset: 0, length: data.length })), data),
      ).toBe(0);
      const sent = await upload(root, `/t/around-${i}`, [data], { ...plain, replication: 1 });
      expect(sent.bytes).toBe(data.length);
    }
  });
});
