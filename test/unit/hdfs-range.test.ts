// SPDX-License-Identifier: Apache-2.0
/**
 * Whose fault it is that a read of an object in HDFS breaks off, and who is asked next. With a real cluster:
 * test/integration/webhdfs.test.ts.
 */
import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import type { ErrorKind } from '../../src/errors.js';
import { ObjectReader, SilentNodes } from '../../src/stores/hdfs/object-reader.js';
import { readRange } from '../../src/webhdfs/index.js';
import { failure } from '../contract/store.js';
import { type Conduct, FakeHdfs } from '../support/fake-hdfs.js';

const data = randomBytes(100_000);
let hdfs: FakeHdfs;

afterEach(() => hdfs.stop());

async function collect(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of pieces) parts.push(part);
  return Buffer.concat(parts);
}

describe('DataNodes whose names have capital letters', () => {
  const readers = {
    'an object': () => new ObjectReader(hdfs.files, hdfs.path, new SilentNodes()).read(0, data.length),
    'a range': () => collect(readRange(hdfs.files.client, hdfs.path, { offset: 0, length: data.length })),
  };

  it.each(Object.entries(readers))(
    'are found by the host map, and blamed: %s is read from another',
    async (_, read) => {
      hdfs = await FakeHdfs.start(data, ['DN-One.Rack', 'DN-Two.Rack']);
      hdfs.blocks = [hdfs.block(1, 2)];
      hdfs.conduct.set('DN-One.Rack', ['breaks off']);
      expect((await read()).equals(data)).toBe(true);
      expect(hdfs.reads.at(-1)).toBe('DN-Two.Rack');
    },
  );
});

describe('a DataNode with the only copy', () => {
  const read = (): Promise<Buffer> =>
    new ObjectReader(hdfs.files, hdfs.path, new SilentNodes()).read(0, data.length);

  it.each<[kind: ErrorKind, conduct: Conduct]>([
    ['corrupt', 'breaks off'],
    ['unreachable', 'hangs up'],
    ['unreachable', 403],
    ['unreachable', 502],
  ])('leaves it %s when it %s each time, and gives it when it does so once', async (kind, conduct) => {
    hdfs = await FakeHdfs.start(data);
    hdfs.blocks = [hdfs.block(1)];
    hdfs.conduct.set('dn1', [conduct]);
    await failure(read(), kind);
    hdfs.conduct.set('dn1', [conduct, 'serves']);
    expect((await read()).equals(data)).toBe(true);
  });
});
