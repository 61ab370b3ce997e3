// SPDX-License-Identifier: Apache-2.0
/** A gateway behind a proxy that passes a request on with its first data only, as nginx does by default. */
import { afterEach, expect, it } from 'vitest';
import { upload, WebHdfsClient } from '../../src/webhdfs/index.js';
import { entry, Hostile, MISSING } from '../support/hostile-hdfs.js';

const hostile = new Hostile();
afterEach(() => hostile.stop());

it('gets the first byte at once, not after a wait for a file that it makes with data only', async () => {
  let made = false;
  const gateway = await hostile.serve(({ op }) => {
    if (op === 'GETFILESTATUS') return made ? { json: { FileStatus: entry('') } } : MISSING;
    if (op === 'CREATE') return { status: 307, headers: { location: '/gateway/data?_=opaque' } };
    return (response, request) => {
      request.once('data', () => (made = true));
      request.once('end', () => response.writeHead(201).end());
    };
  });
  const client = new WebHdfsClient({ nameNodes: [`http://127.0.0.1:${gateway.port}`], patienceMs: 0 });
  const start = performance.now();
  await upload(client, '/x', [Buffer.from('data')], { replication: 1, blockSize: 512 });
  expect(performance.now() - start).toBeLessThan(3000);
  expect(gateway.received()).toBe(4);
});
