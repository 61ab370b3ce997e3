// SPDX-License-Identifier: Apache-2.0
/**
 * The WebHDFS client on a cluster with Kerberos and TLS: delegation token, own certificate authority, and
 * what is said without them.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  nameNodesOf,
  readRange,
  sameChecksum,
  spnego,
  Upload,
  upload,
  WebHdfsClient,
  type WebHdfsError,
  type WebHdfsOptions,
} from '../../src/webhdfs/index.js';
import { HdfsCluster } from '../support/hdfs-cluster.js';
import { labMissing } from '../support/lab.js';

const MIB = 1024 * 1024;
const data = Buffer.from(Array.from({ length: 3 * MIB }, (_, i) => (i * 2654435761) >>> 24));
/** As a job that renews it leaves it. */
const tokenOf = (file: string) => async (): Promise<string> => (await readFile(file, 'utf8')).trim();
const spread = { replication: 1, blockSize: MIB };

describe.skipIf(labMissing() !== undefined)('the WebHDFS client on a cluster with Kerberos and TLS', () => {
  let cluster: HdfsCluster;
  let dir: string;
  let tokenFile: string;
  let ca: Buffer;

  beforeAll(async () => {
    cluster = await HdfsCluster.start({ dataNodes: 2, secure: true });
    dir = await mkdtemp(join(tmpdir(), 'pars-secure-'));
    tokenFile = join(dir, 'token');
    await writeFile(tokenFile, await cluster.delegationToken(), { mode: 0o600 });
    ca = await readFile(cluster.caFile);
  });
  afterAll(async () => {
    await cluster?.stop();
    await rm(dir, { recursive: true, force: true });
  });

  const client = (options: Partial<WebHdfsOptions> = {}): WebHdfsClient =>
    new WebHdfsClient({
      nameNodes: nameNodesOf(cluster.url),
      ca,
      requestMs: 20_000,
      patienceMs: 1000,
      ...options,
    });

  /** No message may hold a token, nor a URL's query. */
  async function refusal(options: Partial<WebHdfsOptions>): Promise<WebHdfsError> {
    const error = await client(options)
      .status('/')
      .then(
        () => undefined,
        (reason: unknown) => reason as WebHdfsError,
      );
    expect(error).toMatchObject({ name: 'WebHdfsError' });
    const token = (await readFile(tokenFile, 'utf8')).trim();
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
      expect(cause.message).not.toContain(token);
      expect(cause.message).not.toContain('delegation=');
    }
    return error as WebHdfsError;
  }

  it('speaks TLS only', () => {
    expect(cluster.url).toMatch(/^swebhdfs:/);
  });

  it('writes, checks, reads, renames and deletes with a delegation token', async () => {
    const own = client({ token: tokenOf(tokenFile) });
    await own.makeDirectories('/t');
    const sent = await upload(own, '/t/data', [data], { ...spread, permission: '600' });
    expect(sameChecksum(sent.checksum, await own.checksum('/t/data'))).toBe(true);
    expect(await own.status('/t/data')).toMatchObject({
      length: data.length,
      owner: 'root',
      permission: '600',
    });
    const read: Buffer[] = [];
    for await (const piece of readRange(own, '/t/data', { offset: 1, length: data.length - 1 }))
      read.push(piece);
    expect(Buffer.compare(Buffer.concat(read), data.subarray(1))).toBe(0);
    expect(await own.rename('/t/data', '/t/moved')).toBe(true);
    expect(await own.delete('/t', { recursive: true })).toBe(true);
  });

  it('reads the token again, since tokens are renewed', async () => {
    const changing = join(dir, 'changing');
    await writeFile(changing, (await readFile(tokenFile, 'utf8')).slice(0, -8));
    const own = client({ token: tokenOf(changing) });
    await expect(own.status('/')).rejects.toThrow(expect.objectContaining({ kind: 'login' }) as Error);
    await writeFile(changing, `${await readFile(tokenFile, 'utf8')}\n`);
    expect(await own.status('/')).toMatchObject({ type: 'DIRECTORY' });
  });

  it('is refused with a name alone, with nothing, and with a token that is none', async () => {
    expect(await refusal({ user: 'root' })).toMatchObject({ kind: 'login', status: 401 });
    expect(await refusal({})).toMatchObject({ kind: 'login', status: 401 });
    const bad = join(dir, 'bad');
    await writeFile(bad, (await readFile(tokenFile, 'utf8')).slice(0, -8));
    expect(await refusal({ token: tokenOf(bad) })).toMatchObject({ kind: 'login' });
  });

  it('logs in with a Kerberos ticket, by a package that is installed for it', async () => {
    await promisify(execFile)('npm', [
      'install',
      '--prefix',
      dir,
      '--no-audit',
      '--no-fund',
      'kerberos@7.0.0',
    ]);
    const load = (): Promise<unknown> => import(join(dir, 'node_modules/kerberos/lib/index.js'));
    const own = client({ authorization: spnego(load) });
    process.env['KRB5_CONFIG'] = join(cluster.dir, 'secure', 'krb5.conf');
    process.env['KRB5CCNAME'] = `FILE:${join(dir, 'no-ticket')}`;
    await expect(own.status('/')).rejects.toThrow(
      expect.objectContaining({
        kind: 'login',
        message: expect.stringContaining('kinit') as string,
      }) as Error,
    );
    process.env['KRB5CCNAME'] = `FILE:${join(cluster.dir, 'secure', 'ticket')}`;
    await own.makeDirectories('/by-ticket');
    await upload(own, '/by-ticket/data', [data], spread);
    expect(await own.status('/by-ticket/data')).toMatchObject({ length: data.length, owner: 'root' });
    const without = client({ authorization: spnego() });
    await expect(without.status('/')).rejects.toThrow(
      expect.objectContaining({
        kind: 'login',
        message: expect.stringContaining('npm package kerberos') as string,
      }) as Error,
    );
  });

  it('does not believe a certificate of an authority that it was not given', async () => {
    const trusting = client({ token: tokenOf(tokenFile) });
    const distrustful = new WebHdfsClient({
      nameNodes: nameNodesOf(cluster.url),
      token: tokenOf(tokenFile),
      patienceMs: 1000,
    });
    await expect(distrustful.status('/')).rejects.toThrow(
      expect.objectContaining({ kind: 'certificate' }) as Error,
    );
    await expect(Upload.begin(distrustful, '/none', spread)).rejects.toThrow(/certificate .* not trusted/);
    expect(await trusting.status('/')).toMatchObject({ type: 'DIRECTORY' });
  });
});
