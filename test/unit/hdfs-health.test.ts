// SPDX-License-Identifier: Apache-2.0
/**
 * What is made of an HDFS that fails in ways that a cluster of the laboratory cannot be made to. The others:
 * the integration tests of HDFS.
 */
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native } from '../../src/native.js';
import { inspectObject, proveCopies, replicateObject } from '../../src/stores/hdfs/health.js';
import type { ObjectHealth, StoredObject } from '../../src/stores/store.js';
import { failure } from '../contract/store.js';
import { type Conduct, FakeHdfs } from '../support/fake-hdfs.js';

let hdfs: FakeHdfs;

beforeEach(async () => {
  hdfs = await FakeHdfs.start(randomBytes(100_000));
});
afterEach(() => hdfs.stop());

const inspect = (changes: Partial<StoredObject> = {}): Promise<ObjectHealth> =>
  inspectObject(hdfs.files, () => native().newHash(), hdfs.object(changes), true);

describe('a look at an object in HDFS', () => {
  it('reads every copy', async () => {
    expect(await inspect()).toMatchObject({ good: 3, wanted: 3, faults: [] });
    expect([...hdfs.reads].sort()).toEqual(['dn1', 'dn2', 'dn3']);
  });

  it.each<[fault: string, conduct: Conduct[]]>([
    ['corrupt', ['breaks off']],
    ['unreachable', ['hangs up']],
    ['unreachable', ['breaks off', 'hangs up']],
    ['unreachable', [403]],
    ['unreachable', [502]],
  ])('finds a copy %s whose DataNode %j', async (fault, conduct) => {
    hdfs.conduct.set('dn2', conduct);
    expect(await inspect()).toMatchObject({
      good: 2,
      wanted: 3,
      faults: [{ place: 'block at 0 of /s/x (10.0.0.2:9866)', fault }],
    });
  });

  it.each<[Conduct]>([['breaks off'], ['hangs up']])(
    'reads a copy again whose DataNode %s once',
    async (conduct) => {
      hdfs.conduct.set('dn2', [conduct, 'serves']);
      expect(await inspect()).toMatchObject({ good: 3, wanted: 3, faults: [] });
    },
  );

  it.each([0, 1])('proves nothing of blocks that the NameNode does not tell of: %i of 2', async (told) => {
    const half = hdfs.data.length / 2;
    hdfs.blocks = [{ ...hdfs.block(1, 2, 3), length: half }].slice(0, told);
    const look = await inspectObject(hdfs.files, () => native().newHash(), hdfs.object(), false);
    expect(look).toMatchObject({ good: 0, wanted: 3, faults: [{ fault: 'unreachable' }] });
    await failure(proveCopies(hdfs.files, hdfs.path, hdfs.status, hdfs.object()), 'unreachable');
    await failure(replicateObject(hdfs.files, hdfs.object(), 0), 'unreachable');
  });

  it('finds nothing corrupt that HDFS has moved meanwhile, and reads it where it is now', async () => {
    hdfs.whenRead = () => (hdfs.blocks = [hdfs.block(1, 2, 4)]);
    expect(await inspect()).toMatchObject({ good: 3, wanted: 3, faults: [] });
    expect([...new Set(hdfs.reads)].sort()).toEqual(['dn1', 'dn2', 'dn4']);
  });

  it('finds nothing corrupt of which there were too many', async () => {
    hdfs.whenRead = () => (hdfs.blocks = [hdfs.block(1, 2)]);
    expect(await inspect({ copies: 2 })).toMatchObject({ good: 2, wanted: 2, faults: [] });
  });

  it('finds a copy corrupt that HDFS knows no more after the reading', async () => {
    hdfs.whenRead = (host) => host === 'dn3' && (hdfs.blocks = [hdfs.block(1, 2)]);
    expect(await inspect()).toMatchObject({
      good: 2,
      faults: [{ place: 'block at 0 of /s/x (10.0.0.3:9866)', fault: 'corrupt' }],
    });
  });

  it('finds no bytes wrong of a block that nobody has', async () => {
    hdfs.blocks = [hdfs.block()];
    expect(await inspect()).toMatchObject({ good: 0, faults: [{ fault: 'unreachable' }] });
  });

  it.each<[Conduct]>([['hangs up'], ['breaks off'], [403]])(
    'finds no coded data good that it could not read: each DataNode %s',
    async (conduct) => {
      const coding = 'RS-2-1-1024k';
      hdfs.status = { ...hdfs.status, ecPolicy: coding, replication: 1 };
      hdfs.blocks = [hdfs.block(1, 2)];
      for (const host of ['dn1', 'dn2']) hdfs.conduct.set(host, [conduct]);
      expect(await inspect({ coding, copies: 1 })).toMatchObject({
        good: 0,
        wanted: 2,
        faults: [{ fault: 'unreachable' }],
      });
    },
  );
});

describe('a mending', () => {
  it('that HDFS does not come to in time says how many copies there are', async () => {
    hdfs.blocks = [hdfs.block(1, 2)];
    expect((await failure(replicateObject(hdfs.files, hdfs.object(), 200), 'missing')).message).toContain(
      '2 of 3 copies',
    );
  });

  it('is waited for', async () => {
    hdfs.blocks = [hdfs.block(1, 2)];
    setTimeout(() => (hdfs.blocks = [hdfs.block(1, 2, 4)]), 300);
    await replicateObject(hdfs.files, hdfs.object(), 10_000);
  });
});
