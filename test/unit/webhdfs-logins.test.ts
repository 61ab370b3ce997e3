// SPDX-License-Identifier: Apache-2.0
/** A user and password, and a certificate of ours, for gateways that ask for them. */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ParsError } from '../../src/errors.js';
import { HdfsStore } from '../../src/stores/hdfs/hdfs-store.js';
import { parseHdfsUrl } from '../../src/stores/hdfs/url.js';
import { upload, WebHdfsClient, type WebHdfsOptions } from '../../src/webhdfs/index.js';
import { failure } from '../contract/store.js';
import {
  type Certificate,
  entry,
  Hostile,
  type HostileServer,
  MISSING,
  type Reply,
} from '../support/hostile-hdfs.js';

const PASSWORD = 'hunter2: with, colons';
const BASIC = `Basic ${Buffer.from(`bob:${PASSWORD}`).toString('base64')}`;

const hostile = new Hostile();
let directory: string;
let loginFile: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pars-logins-'));
  loginFile = join(directory, 'login');
  await writeFile(loginFile, `bob:${PASSWORD}\n`, { mode: 0o600 });
});
afterEach(() => hostile.stop());
afterAll(() => rm(directory, { recursive: true }));

const optionsOf = (query: string): WebHdfsOptions => parseHdfsUrl(`swebhdfs://gw/pars?${query}`).options;

/** Sends the data to itself, by its other name, or elsewhere. */
async function gatewayTo(elsewhere: string | null): Promise<{ server: HostileServer; caFile: string }> {
  const certificate = hostile.certificate(['DNS:knox', 'DNS:localhost']);
  let made = false;
  const server: HostileServer = await hostile.serve(({ op, parameters }): Reply => {
    if (op === 'GETFILESTATUS') return made ? { json: { FileStatus: entry('') } } : MISSING;
    if (op === 'CREATE')
      return { status: 307, headers: { location: elsewhere ?? `https://knox:${server.port}/data?_=opaque` } };
    made = parameters.has('_');
    return (response, request) => request.resume().once('end', () => response.writeHead(201).end());
  }, certificate);
  return { server, caFile: certificate.caFile };
}

function client({ server, caFile }: { server: HostileServer; caFile: string }, query: string): WebHdfsClient {
  const options = optionsOf(`ca-file=${caFile}&map=knox:${server.port}=localhost:${server.port}&${query}`);
  const nameNodes = [`https://localhost:${server.port}`];
  return new WebHdfsClient({ ...options, nameNodes, patienceMs: 0, requestMs: 3000 });
}

describe('a user and password', () => {
  it('go to the gateway in both steps of an upload, also when it names itself otherwise', async () => {
    const gateway = await gatewayTo(null);
    const { asked } = gateway.server;
    await upload(client(gateway, `login-file=${loginFile}`), '/x', [Buffer.from('data')], {
      replication: 1,
      blockSize: 512,
    });
    expect(asked.map(({ method }) => method)).toContain('PUT');
    expect(asked.filter(({ headers }) => headers.authorization !== BASIC)).toEqual([]);
    expect(asked.filter(({ parameters }) => parameters.has('user.name'))).toEqual([]);
    expect(gateway.server.received()).toBe(4);
  });

  it('go to nobody else', async () => {
    const certificate = hostile.certificate(['DNS:localhost']);
    const other = await hostile.serve(() => ({ status: 403 }), certificate);
    const gateway = await gatewayTo(`https://localhost:${other.port}/data`);
    const authorities = [gateway.caFile, certificate.caFile];
    const ca = Buffer.concat(await Promise.all(authorities.map((file) => readFile(file))));
    const { options } = client(gateway, `login-file=${loginFile}`);
    const own = new WebHdfsClient({ ...options, ca });
    const sent = upload(own, '/x', [Buffer.from('data')], { replication: 1, blockSize: 512 });
    await expect(sent).rejects.toMatchObject({ status: 403 });
    expect(other.asked.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  it.each([
    ['swebhdfs://gw/pars?login-file=FILE', 'bob', 'not one line of USER:PASSWORD'],
    ['swebhdfs://gw/pars?login-file=FILE', `bob:${PASSWORD}\nmore`, 'not one line of USER:PASSWORD'],
    ['webhdfs://gw/pars?login-file=FILE', `bob:${PASSWORD}`, 'without TLS the password could be read'],
  ])('%s of %j are refused, and not repeated', async (url, contents, message) => {
    const file = join(directory, 'bad');
    await writeFile(file, contents, { mode: 0o600 });
    const login = async (): Promise<unknown> =>
      parseHdfsUrl(url.replace('FILE', file)).options.authorization?.('gw');
    const error = await login().then(
      () => new Error('taken'),
      (reason: unknown) => reason as Error,
    );
    expect(error.message).toContain(message);
    expect(error.message).not.toContain('hunter2');
  });

  it('that everybody may read are refused', async () => {
    const file = join(directory, 'open');
    await writeFile(file, `bob:${PASSWORD}`);
    await chmod(file, 0o644);
    await expect(optionsOf(`login-file=${file}`).authorization?.('gw')).rejects.toThrow(
      'may be read by everybody',
    );
  });
});

describe('a login that is no longer good', () => {
  it('is refused, and may be renewed by somebody: who can wait does', async () => {
    const server = await hostile.serve(() => ({ status: 401 }));
    const store = new HdfsStore(`webhdfs://127.0.0.1:${server.port}/pars`);
    expect(await failure(store.status(), 'refused')).toMatchObject({ passing: true });
    expect(new ParsError('unreachable', 'x').passing).toBe(true);
    expect(new ParsError('refused', 'x').passing).toBe(false);
  });
});

describe('a certificate of ours', () => {
  it('is shown to a server that asks for one, and without it, or with another, that is said', async () => {
    const [server, ours, others] = ['localhost', 'pars', 'somebody'].map((name) =>
      hostile.certificate([`DNS:${name}`]),
    ) as [Certificate, Certificate, Certificate];
    const mutual = { ca: await readFile(ours.caFile), requestCert: true, rejectUnauthorized: true };
    const there = await hostile.serve(() => ({ json: { FileStatus: entry('', 'DIRECTORY') } }), {
      ...server,
      ...mutual,
    });
    const at = { server: there, caFile: server.caFile };
    const fileOf = async (name: string, data: Buffer): Promise<string> => {
      await writeFile(join(directory, name), data, { mode: 0o600 });
      return join(directory, name);
    };
    const query = async ({ cert, key }: Certificate): Promise<string> =>
      `cert-file=${await fileOf('cert', cert)}&key-file=${await fileOf('key', key)}`;
    expect(await client(at, await query(ours)).status('/')).toMatchObject({ type: 'DIRECTORY' });
    await expect(client(at, '').status('/')).rejects.toMatchObject({
      kind: 'certificate',
      message: expect.stringContaining('asks for a client certificate') as string,
    });
    // Node hangs up on it, without the alert that others send.
    await expect(client(at, await query(others)).status('/')).rejects.toThrow(/certificate|ECONNRESET/);
    const mixed = `cert-file=${await fileOf('cert', ours.cert)}&key-file=${await fileOf('key', others.key)}`;
    expect(() => optionsOf(mixed)).toThrow('are not a certificate and its key');
    expect(() => optionsOf(`key-file=${join(directory, 'key')}`)).toThrow('cert-file=');
  });
});
