// SPDX-License-Identifier: Apache-2.0
/** Renamings in HDFS of which nobody knows whether they were carried out. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FileStatus } from '../../src/webhdfs/index.js';
import { failure } from '../contract/store.js';
import { FakeHdfs } from '../support/fake-hdfs.js';

const TEMPORARY = '/s/.x.tmp';

let hdfs: FakeHdfs;
/** What has the name. */
let there: FileStatus | 'missing';

beforeEach(async () => {
  hdfs = await FakeHdfs.start(Buffer.from('x'));
  there = 'missing';
  hdfs.answers.set('GETFILESTATUS', (path) => {
    if (path !== TEMPORARY) return there === 'missing' ? there : { FileStatus: there };
    return there === 'missing' || there.fileId !== hdfs.status.fileId
      ? { FileStatus: hdfs.status }
      : 'missing';
  });
});
afterEach(() => hdfs.stop());

/** The first renaming is not answered; before the second it is done, or the name taken. */
function meanwhile(what: () => FileStatus | 'missing', second: object | 'missing'): void {
  let asked = 0;
  hdfs.answers.set('RENAME', () => {
    if (++asked === 1) return 'silence';
    there = what();
    return second;
  });
}

const another = (): FileStatus => ({ ...hdfs.status, fileId: 8 });

describe('a renaming that is carried out late', () => {
  it('is no refusal: neither to a new name, nor over what has it', async () => {
    meanwhile(() => hdfs.status, { boolean: false });
    expect(await hdfs.files.publishNew(TEMPORARY, hdfs.path)).toBe(true);
    there = 'missing';
    meanwhile(() => hdfs.status, 'missing');
    await hdfs.files.replace(TEMPORARY, hdfs.path);
  });

  it('is told from a name that another took meanwhile', async () => {
    meanwhile(another, { boolean: false });
    expect(await hdfs.files.publishNew(TEMPORARY, hdfs.path)).toBe(false);
    there = 'missing';
    meanwhile(another, 'missing');
    await failure(hdfs.files.replace(TEMPORARY, hdfs.path), 'missing');
  });

  it.each([undefined, 0])('is known by its length and time where the id of files is %s', async (fileId) => {
    const withoutId = (status: FileStatus): FileStatus => ({ ...status, fileId });
    hdfs.status = withoutId(hdfs.status);
    hdfs.answers.set('GETFILESTATUS', (path) =>
      path === TEMPORARY ? { FileStatus: hdfs.status } : there === 'missing' ? there : { FileStatus: there },
    );
    meanwhile(() => hdfs.status, { boolean: false });
    expect(await hdfs.files.publishNew(TEMPORARY, hdfs.path)).toBe(true);
    there = 'missing';
    meanwhile(() => withoutId({ ...another(), modificationTime: 2 }), { boolean: false });
    expect(await hdfs.files.publishNew(TEMPORARY, hdfs.path)).toBe(false);
  });
});
