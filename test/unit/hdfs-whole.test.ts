// SPDX-License-Identifier: Apache-2.0
/** Small objects of an HDFS that are read whole: what makes no sense is corrupt, never an answer. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { HdfsStore } from '../../src/stores/hdfs/hdfs-store.js';
import { failure } from '../contract/store.js';
import { FakeHdfs } from '../support/fake-hdfs.js';

const data = Buffer.from('{"state": "stubbed"}\n');
let hdfs: FakeHdfs;
let store: HdfsStore;

beforeEach(async () => {
  hdfs = await FakeHdfs.start(data);
  store = new HdfsStore(hdfs.url);
});
afterEach(async () => {
  await store.close();
  await hdfs.stop();
});

it('what its reader accepts is given', async () => {
  expect((await store.readWhole('x', (whole) => whole.equals(data))).equals(data)).toBe(true);
});

it('what its reader does not accept is corrupt', async () => {
  const error = await failure(
    store.readWhole('x', () => false),
    'corrupt',
  );
  expect(error.message).toContain('x has no good copy');
});

it('what is longer than any of them is corrupt, and not read', async () => {
  hdfs.status = { ...hdfs.status, length: 1 << 30 };
  const error = await failure(
    store.readWhole('x', () => true),
    'corrupt',
  );
  expect(error.message).toContain('x is too long (1073741824 bytes');
  expect(hdfs.reads).toEqual([]);
});

it('what is not there is missing', async () => {
  await failure(
    store.readWhole('y', () => true),
    'missing',
  );
});
