// SPDX-License-Identifier: Apache-2.0
/** What an HDFS that lies, or somebody on the network, cannot make the client do. */
import { afterEach, describe, expect, it } from 'vitest';
import {
  openRange,
  Upload,
  WebHdfsClient,
  WebHdfsError,
  type WebHdfsOptions,
} from '../../src/webhdfs/index.js';
import { readFileSync } from 'node:fs';
import {
  type Asked,
  type Certificate,
  entry,
  Hostile,
  type HostileServer,
  listing,
  MISSING,
  type Reply,
} from '../support/hostile-hdfs.js';
import { runPars } from '../support/run-pars.js';

const hostile = new Hostile();
afterEach(() => hostile.stop());

const clientOf = (address: string, options: Partial<WebHdfsOptions> = {}): WebHdfsClient =>
  new WebHdfsClient({ nameNodes: [address], user: 'root', patienceMs: 0, requestMs: 5000, ...options });

const failureOf = (work: Promise<unknown>): Promise<WebHdfsError> =>
  work.then(
    () => expect.unreachable('it succeeded'),
    (error: WebHdfsError) => error,
  );

async function readAll(pieces: AsyncIterable<Buffer>): Promise<void> {
  for await (const piece of pieces) expect(piece.length).toBeGreaterThan(0);
}

describe('a redirect (row 8)', () => {
  const uses = (client: WebHdfsClient): Record<string, () => Promise<unknown>> => ({
    'a file that is read': () => readAll(openRange(client, '/x', { offset: 0, length: 4 })),
    'a file that is written': async () => {
      const upload = await Upload.begin(client, '/x', { replication: 1, blockSize: 512 });
      await upload.write(Buffer.from('secret'));
      await upload.close();
    },
    'a checksum': () => client.checksum('/x'),
  });
  const USES = Object.keys(uses(clientOf('http://unused')));

  /** A NameNode over TLS, as the store's URL says, that sends everybody on to `location`. */
  async function secureNameNode(location: () => string): Promise<WebHdfsClient> {
    const certificate = hostile.certificate(['IP:127.0.0.1']);
    const script = ({ op, parameters }: Asked): Reply => {
      if (op === 'GETFILESTATUS') return MISSING;
      if (parameters.has('noredirect')) return { json: { Location: location() } };
      return { status: 307, headers: { location: location() } };
    };
    const { port } = await hostile.serve(script, certificate);
    return clientOf(`https://127.0.0.1:${port}`, { ca: readFileSync(certificate.caFile) });
  }

  it.each(USES)('out of TLS is not followed: %s', async (use) => {
    const plain: HostileServer = await hostile.serve(() => ({ status: 201 }));
    const client = await secureNameNode(() => `http://127.0.0.1:${plain.port}/webhdfs/v1/x?op=CREATE`);
    const error = await failureOf(uses(client)[use]!());
    expect(error).toMatchObject({ kind: 'insecure' });
    expect(error.message).toContain('without TLS');
    expect(plain.asked).toEqual([]);
    expect(plain.received()).toBe(0);
  });

  it.each(USES)('to nowhere is an error of the protocol: %s', async (use) => {
    for (const location of ['http://[', 'file:///etc/shadow', 'data:,x', '//[::1', 'https://']) {
      const error = await failureOf(uses(await secureNameNode(() => location))[use]!());
      expect(error).toMatchObject({ kind: 'protocol' });
    }
  });

  it('takes no login along that stands in the address', async () => {
    const node = await hostile.serve(() => ({
      status: 200,
      headers: { 'content-type': 'application/octet-stream', 'content-length': '4' },
      body: 'data',
    }));
    const nameNode = await hostile.serve(() => ({
      status: 307,
      headers: { location: `http://a:b@127.0.0.1:${node.port}/x` },
    }));
    await readAll(openRange(clientOf(`http://127.0.0.1:${nameNode.port}`), '/x', { offset: 0, length: 4 }));
    expect(node.asked[0]?.headers.authorization).toBeUndefined();
  });

  it('to nowhere is said by the program, with the exit code of a store that cannot be reached', async () => {
    const script = ({ op }: Asked): Reply =>
      op === 'CREATE'
        ? { status: 307, headers: { location: 'http://[' } }
        : op === 'GETFILESTATUS'
          ? MISSING
          : { json: { boolean: true } };
    const { port } = await hostile.serve(script);
    const { exitCode, stderr } = await runPars('store', 'init', '--store', `webhdfs://127.0.0.1:${port}/s`);
    expect(stderr).toContain('an invalid address');
    expect(exitCode).toBe(6);
  });
});

describe('a listing (row 12)', () => {
  const LISTINGS: Record<string, (startAfter: number) => string> = {
    'says the same again and again': () => 'x',
    'goes back': (after) => `x${String(1e6 - after).padStart(9, '0')}`,
  };

  it.each(Object.keys(LISTINGS))('that %s is given up, and little of it is kept', async (how) => {
    let served = 0;
    const { port } = await hostile.serve(() => {
      const names = Array.from({ length: 20_000 }, () => LISTINGS[how]!(served++));
      return listing(
        names.map((name) => entry(name)),
        1000,
      );
    });
    const client = clientOf(`http://127.0.0.1:${port}`);
    const before = process.memoryUsage().rss;
    const error = await failureOf(
      (async () => {
        for await (const one of client.list('/s')) expect(one.length).toBe(0);
      })(),
    );
    expect(error).toMatchObject({ kind: 'protocol' });
    expect(served).toBeLessThan(1_100_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(600 << 20);
  });

  it('that says there are more entries, and gives none, is not taken for its end', async () => {
    const { port } = await hostile.serve(({ parameters }) =>
      parameters.has('startAfter') ? listing([], 3) : listing([entry('a')], 3),
    );
    const names: string[] = [];
    const error = await failureOf(
      (async () => {
        for await (const one of clientOf(`http://127.0.0.1:${port}`).list('/s')) names.push(one.pathSuffix);
      })(),
    );
    expect(error).toMatchObject({ kind: 'protocol' });
    expect(names).toEqual(['a']);
  });

  it('of more entries than a store can have is no store, whoever asks', async () => {
    let served = 0;
    const script = ({ op }: Asked): Reply =>
      op === 'GETFILESTATUS'
        ? { json: { FileStatus: entry('', 'DIRECTORY') } }
        : listing(
            Array.from({ length: 20_000 }, () => entry(`x${String(served++).padStart(9, '0')}`)),
            1000,
          );
    const { port } = await hostile.serve((asked) =>
      asked.path.endsWith('pars-store.json') ? MISSING : script(asked),
    );
    const { exitCode, stderr } = await runPars('store', 'init', '--store', `webhdfs://127.0.0.1:${port}/s`);
    expect(stderr).toContain('more entries than');
    expect(exitCode).toBe(5);
    expect(served).toBeLessThan(400_000);
  });
});

describe('an answer (row 12)', () => {
  const CHANGES: Record<string, (client: WebHdfsClient) => Promise<unknown>> = {
    'a renaming': (client) => client.renameOver('/x', '/y'),
    permissions: (client) => client.setPermission('/x', '600'),
    'a coding': (client) => client.erasureCoding('/x'),
    'a removal': (client) => client.delete('/x'),
    'a look': (client) => client.status('/x'),
  };

  it.each(Object.keys(CHANGES))('that sends elsewhere or says nothing is not one to %s', async (what) => {
    const login = { status: 302, headers: { location: 'http://127.0.0.1:1/login' } };
    for (const reply of [login, { status: 304 }, { status: 300, body: '{"boolean":true}' }]) {
      const { port } = await hostile.serve(() => reply);
      const error = await failureOf(CHANGES[what]!(clientOf(`http://127.0.0.1:${port}`)));
      expect(error).toMatchObject({ kind: 'protocol', status: reply.status });
    }
  });

  it.each([502, 503, 504])('of a proxy, %i, is one that did not come', async (status) => {
    const proxy = await hostile.serve(() => ({ status, body: '<html>try again later</html>' }));
    const good = await hostile.serve(() => ({ json: { FileStatus: entry('', 'DIRECTORY') } }));
    const client = clientOf('', {
      nameNodes: [proxy, good].map(({ port }) => `http://127.0.0.1:${port}`),
      patienceMs: 60_000,
    });
    // Whether it was carried out nobody knows.
    expect(await failureOf(client.rename('/x', '/y'))).toMatchObject({ kind: 'unreachable', status });
    expect(await client.status('/')).toMatchObject({ type: 'DIRECTORY' });
    expect([proxy.asked.length, good.asked.length]).toEqual([2, 1]);
  });

  it('without an end is cut off', async () => {
    const { port } = await hostile.serve(() => (response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const more = (): void => void (response.destroyed || response.write('[1,'.repeat(100_000), more));
      more();
    });
    const before = process.memoryUsage().rss;
    const error = await failureOf(clientOf(`http://127.0.0.1:${port}`).status('/x'));
    expect(error).toMatchObject({ kind: 'protocol' });
    expect(process.memoryUsage().rss - before).toBeLessThan(300 << 20);
  });

  const block = (offset: number, length: number): object => ({
    offset,
    length,
    corrupt: false,
    hosts: [],
    names: [],
  });
  it.each([
    ['overlap', [block(0, 10), block(5, 10)]],
    ['leave gaps', [block(0, 10), block(11, 10)]],
    ['are empty', [block(0, 0)]],
    ['begin below zero', [block(-1, 10)]],
    ['begin after what was asked for', [block(1, 10)]],
    ['are no numbers', [block(0, 1e300)]],
  ])('of blocks that %s is an error of the protocol', async (_, BlockLocation) => {
    const { port } = await hostile.serve(() => ({ json: { BlockLocations: { BlockLocation } } }));
    expect(await failureOf(clientOf(`http://127.0.0.1:${port}`).blockLocations('/x'))).toMatchObject({
      kind: 'protocol',
    });
  });

  it('of blocks is asked for in stretches, as many as the file has', async () => {
    const { port, asked } = await hostile.serve(({ parameters }) => {
      const [offset, length] = [Number(parameters.get('offset')), Number(parameters.get('length'))];
      const BlockLocation = offset >= 3 * 2 ** 37 ? [] : [block(offset, length)];
      return { json: { BlockLocations: { BlockLocation } } };
    });
    expect(await clientOf(`http://127.0.0.1:${port}`).blockLocations('/x')).toHaveLength(3);
    expect(asked).toHaveLength(4);
  });
});

describe('a certificate (row 8)', () => {
  const status: Reply = { json: { FileStatus: entry('', 'DIRECTORY') } };

  it('of the name that the cluster gives is taken where the map leads; that name is asked for', async () => {
    const certificate = hostile.certificate(['DNS:dn1.cluster']);
    const data = {
      status: 200,
      headers: { 'content-type': 'application/octet-stream', 'content-length': '4' },
      body: 'data',
    };
    const node = await hostile.serve(() => data, certificate);
    const nameNode = await hostile.serve(() => ({
      status: 307,
      headers: { location: 'https://DN1.cluster:9865/x' },
    }));
    const at = (map: string): WebHdfsClient =>
      clientOf(`http://127.0.0.1:${nameNode.port}`, {
        hostMap: { [map]: `127.0.0.1:${node.port}` },
        ca: readFileSync(certificate.caFile),
      });
    for (const map of ['dn1.cluster', 'dn1.cluster:9865'])
      await readAll(openRange(at(map), '/x', { offset: 0, length: 4 }));
    expect(node.asked.map(({ headers }) => headers.host)).toEqual(['dn1.cluster:9865', 'dn1.cluster:9865']);
  });

  it('of another name is refused, with the names on both sides', async () => {
    const certificate = hostile.certificate(['DNS:dn2.cluster', 'IP:10.0.0.2']);
    const { port } = await hostile.serve(() => status, certificate);
    const error = await failureOf(
      clientOf(`https://127.0.0.1:${port}`, { ca: readFileSync(certificate.caFile) }).status('/'),
    );
    expect(error).toMatchObject({ kind: 'certificate' });
    expect(error.message).toContain('not for 127.0.0.1; it names dn2.cluster, 10.0.0.2');
  });

  it('that is not trusted, or has expired, is told with its file; the program exits with 3', async () => {
    const [expired, good, other] = [true, false, false].map((old) =>
      hostile.certificate(['IP:127.0.0.1'], { expired: old }),
    ) as [Certificate, Certificate, Certificate];
    for (const [certificate, { caFile }, said] of [
      [expired, expired, 'has expired'],
      [good, other, 'an authority that is not trusted'],
    ] as const) {
      const { port } = await hostile.serve(() => status, certificate);
      const url = `swebhdfs://127.0.0.1:${port}/s?ca-file=${caFile}`;
      const { exitCode, stderr } = await runPars('store', 'status', '--store', url);
      expect(stderr).toContain(said);
      expect(stderr).toContain(caFile);
      expect(stderr).not.toContain('is HDFS up');
      expect(exitCode).toBe(3);
    }
  });

  it('that is bad on one NameNode leaves the other', async () => {
    const certificate = hostile.certificate(['IP:127.0.0.1']);
    const [bad, good] = [
      await hostile.serve(() => status, hostile.certificate(['IP:127.0.0.1'])),
      await hostile.serve(() => status, certificate),
    ];
    const client = clientOf('', {
      nameNodes: [bad, good].map(({ port }) => `https://127.0.0.1:${port}`),
      ca: readFileSync(certificate.caFile),
      patienceMs: 60_000,
    });
    expect(await client.status('/')).toMatchObject({ type: 'DIRECTORY' });
  });
});
