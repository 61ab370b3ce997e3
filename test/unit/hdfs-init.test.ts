// SPDX-License-Identifier: Apache-2.0
/** Setting up a store in an HDFS that does not answer: whoever waits is told, and not for long. */
import { createServer } from 'node:http';
import { createServer as createSilent, type AddressInfo, type Server } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { initHdfsStore } from '../../src/stores/hdfs/init.js';
import { runPars } from '../support/run-pars.js';

const closing: { close(): unknown }[] = [];
afterEach(() => closing.splice(0).forEach((server) => server.close()));

async function listening(server: Server): Promise<string> {
  closing.push(server);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const silent = (): Promise<string> => listening(createSilent());

/** A NameNode that lets nobody in. */
const forbidding = (): Promise<string> =>
  listening(
    createServer((_, response) => {
      const exception = { exception: 'AccessControlException', message: 'Permission denied: user=nobody' };
      response.writeHead(403, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ RemoteException: exception }));
    }),
  );

describe('a store in HDFS is set up', () => {
  it('without waiting for a minute where nobody answers, and says that it waits', async () => {
    const began = performance.now();
    const { exitCode, stderr } = await runPars('store', 'init', '--store', 'webhdfs://127.0.0.1:1/pars');
    expect(performance.now() - began).toBeLessThan(30_000);
    expect(exitCode).toBe(6);
    expect(stderr).toMatch(/^Waiting for an answer from webhdfs:\/\/127\.0\.0\.1:1\/pars \.\.\.$/m);
    expect(stderr).toContain('ECONNREFUSED');
  });

  it('by the second NameNode where the first is silent', async () => {
    const url = `webhdfs://${await silent()},${await forbidding()}/pars`;
    await expect(initHdfsStore(url)).rejects.toMatchObject({ kind: 'refused' });
  });
});
