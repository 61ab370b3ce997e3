/** What is made of an HDFS that fails in ways that a cluster of the laboratory cannot be made to. The others: test/integration/hdfs-*.test.ts. */
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native } from '../../src/native.js';
import { inspectObject } from '../../src/stores/hdfs-health.js';
import type { ObjectHealth, StoredObject } from '../../src/stores/store.js';
import { FakeHdfs } from '../support/fake-hdfs.js';

let hdfs: FakeHdfs;

beforeEach(async () => {
  hdfs = await FakeHdfs.start(randomBytes(100_000));
});
afterEach(() => hdfs.stop());

const inspect = (changes: Partial<StoredObject> = {}): Promise<ObjectHealth> => inspectObject(hdfs.files, () => native().newHash(), hdfs.object(changes), true);

describe('a look at an object in HDFS', () => {
  it('reads every copy', async () => {
    expect(await inspect()).toEqual({ good: 3, wanted: 3, faults: [] });
    expect([...hdfs.reads].sort()).toEqual(['dn1', 'dn2', 'dn3']);
  });

  it.each([['hangs up'], ['breaks off'], [403]] as const)('finds no coded data good that it could not read: each DataNode %s', async (conduct) => {
    const coding = 'RS-2-1-1024k';
    hdfs.status = { ...hdfs.status, ecPolicy: coding, replication: 1 };
    hdfs.blocks = [hdfs.block(1, 2)];
    for (const host of ['dn1', 'dn2']) hdfs.conduct.set(host, [conduct]);
    expect(await inspect({ coding, copies: 1 })).toMatchObject({ good: 0, wanted: 2, faults: [{ fault: 'unreachable' }] });
  });
});
