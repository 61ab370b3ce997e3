// SPDX-License-Identifier: Apache-2.0
/**
 * In an encryption zone nothing but the bytes read back proves a file. With a real one:
 * test/slow/encryption-zones.test.ts.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { HdfsFiles } from '../../src/stores/hdfs/files.js';
import { sendSmall } from '../../src/stores/hdfs/upload.js';
import { failure } from '../contract/store.js';
import { entry, Hostile, MISSING, type HostileServer } from '../support/hostile-hdfs.js';

const data = Buffer.from('claimed');
const hostile = new Hostile();
afterEach(() => hostile.stop());

/** A gateway to one file, in a zone, of which reads give `kept`. */
async function zoneWith(kept: Buffer): Promise<{ files: HdfsFiles; server: HostileServer }> {
  let made = false;
  const blocks = [
    { offset: 0, length: kept.length, corrupt: false, hosts: ['dn'], names: ['10.0.0.1:9866'] },
  ];
  const server = await hostile.serve(({ op, parameters }) => {
    if (op === 'MKDIRS') return { json: { boolean: true } };
    if ((op === 'CREATE' || op === 'OPEN') && !parameters.has('data'))
      return { status: 307, headers: { location: `/webhdfs/v1/s/x?op=${op}&data=true` } };
    if (op === 'CREATE') {
      made = true;
      return (response, request) => request.resume().once('end', () => response.writeHead(201).end());
    }
    if (op === 'GETFILESTATUS')
      return made ? { json: { FileStatus: { ...entry('', 'FILE', kept.length), encBit: true } } } : MISSING;
    if (op === 'GETFILEBLOCKLOCATIONS') return { json: { BlockLocations: { BlockLocation: blocks } } };
    if (op === 'OPEN')
      return (response) =>
        response
          .writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': kept.length })
          .end(kept);
    return { status: 500 };
  });
  const nameNodes = [`http://127.0.0.1:${server.port}`];
  const options = { nameNodes, requestMs: 2000, patienceMs: 0 };
  return { files: new HdfsFiles({ url: 'webhdfs://zone/s', root: '/s', options }), server };
}

const send = (files: HdfsFiles): Promise<void> =>
  sendSmall(files, '/s/x', data, { copies: 1, critical: true, permission: '600' });

describe('a file in an encryption zone', () => {
  it('is read back, and its checksum, which is that of encrypted bytes, not asked for', async () => {
    const { files, server } = await zoneWith(data);
    await send(files);
    const ops = server.asked.map(({ op }) => op);
    expect(ops).toContain('OPEN');
    expect(ops).not.toContain('GETFILECHECKSUM');
  });

  it('is corrupt when other bytes come back', async () => {
    const { files } = await zoneWith(Buffer.from('clAimed'));
    expect((await failure(send(files), 'corrupt')).message).toContain('is not what was sent');
  });
});
