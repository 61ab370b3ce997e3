// SPDX-License-Identifier: Apache-2.0
/**
 * One file in an HDFS that is none: a NameNode and DataNodes that do what a test tells them, for what a real
 * cluster does too seldom. The I-th DataNode has the address 10.0.0.I and is reached by the client's host
 * map.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { native } from '../../src/native.js';
import { HdfsFiles } from '../../src/stores/hdfs/files.js';
import type { StoredObject } from '../../src/stores/store.js';
import type { BlockLocation, FileStatus, WebHdfsOptions } from '../../src/webhdfs/index.js';

/**
 * What a DataNode makes of a read: serves it; breaks off when it has begun, as for a bad copy; hangs up
 * without a word; says an HTTP status.
 */
export type Conduct = 'serves' | 'breaks off' | 'hangs up' | 403 | 502;

const ROOT = '/s';
const PATIENCE_MS = 300;

export class FakeHdfs {
  /** Operations of the NameNode that are not its own: what they answer, 'missing', or nothing at all. */
  readonly answers = new Map<
    string,
    (path: string, parameters: URLSearchParams) => object | 'missing' | 'silence'
  >();
  /** Of each DataNode's reads, the last one for all that follow. */
  readonly conduct = new Map<string, Conduct[]>();
  /** Which DataNode was read from, in order. */
  readonly reads: string[] = [];
  /** What happens when one is. */
  whenRead: (host: string) => unknown = () => undefined;
  blocks: BlockLocation[];
  status: FileStatus;

  private constructor(
    readonly data: Buffer,
    readonly files: HdfsFiles,
    private readonly hosts: readonly string[],
    private readonly servers: readonly Server[],
  ) {
    this.blocks = [this.block(1, 2, 3)];
    this.status = {
      pathSuffix: '',
      type: 'FILE',
      length: data.length,
      permission: '600',
      owner: 'root',
      group: 'root',
      replication: 3,
      blockSize: 1 << 20,
      modificationTime: 1,
      accessTime: 1,
      fileId: 7,
    };
  }

  /** `hosts`: the DataNodes by the names the cluster has for them. */
  static async start(
    data: Buffer,
    hosts: readonly string[] = ['dn1', 'dn2', 'dn3', 'dn4'],
    options: Partial<WebHdfsOptions> = {},
  ): Promise<FakeHdfs> {
    const servers = [createServer(), ...hosts.map(() => createServer())];
    const ports: number[] = [];
    for (const server of servers) {
      await once(server.listen(0, '127.0.0.1'), 'listening');
      ports.push((server.address() as AddressInfo).port);
    }
    const hostMap = Object.fromEntries(hosts.map((host, i) => [host, `127.0.0.1:${ports[i + 1]}`]));
    const nameNodes = [`http://127.0.0.1:${ports[0]}`];
    const files = new HdfsFiles({
      url: 'webhdfs://fake/s',
      root: ROOT,
      options: { nameNodes, hostMap, requestMs: PATIENCE_MS, patienceMs: 0, ...options },
    });
    const fake = new FakeHdfs(data, files, hosts, servers);
    servers[0]?.on('request', (request: IncomingMessage, response: ServerResponse) =>
      fake.#nameNode(request, response),
    );
    hosts.forEach((host, i) =>
      servers[i + 1]?.on('request', (request: IncomingMessage, response: ServerResponse) =>
        fake.#dataNode(host, request, response),
      ),
    );
    return fake;
  }

  get path(): string {
    return `${ROOT}/x`;
  }

  /** Of the store that has this file as its object x. */
  get url(): string {
    const [nameNode = '', ...dataNodes] = this.servers.map(
      (server) => `127.0.0.1:${(server.address() as AddressInfo).port}`,
    );
    const map = this.hosts.map((host, i) => `map=${host}=${dataNodes[i]}`);
    return `webhdfs://${nameNode}${ROOT}?${map.join('&')}`;
  }

  object(changes: Partial<StoredObject> = {}): StoredObject {
    const hash = native().newHash();
    hash.update(this.data);
    return { name: 'x', bytes: this.data.length, xxh3: hash.digest(), copies: 3, ...changes };
  }

  /** The file's one block, on the DataNodes of these numbers. */
  block(...nodes: number[]): BlockLocation {
    return {
      offset: 0,
      length: this.data.length,
      corrupt: false,
      hosts: nodes.map((i) => this.hosts[i - 1] ?? ''),
      names: nodes.map((i) => `10.0.0.${i}:9866`),
    };
  }

  async stop(): Promise<void> {
    for (const server of this.servers) {
      server.closeAllConnections();
      server.close();
    }
    await Promise.all(this.servers.map((server) => once(server, 'close')));
  }

  #nameNode(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', 'http://fake');
    const path = url.pathname.replace('/webhdfs/v1', '');
    const op = url.searchParams.get('op') ?? '';
    const special = this.answers.get(op)?.(path, url.searchParams);
    if (special === 'silence') return;
    if (special === 'missing')
      return refuse(response, 404, 'FileNotFoundException', `File does not exist: ${path}`);
    if (special !== undefined) return say(response, special);
    if (path !== this.path)
      return refuse(response, 404, 'FileNotFoundException', `File does not exist: ${path}`);
    if (op === 'GETFILESTATUS') return say(response, { FileStatus: this.status });
    if (op === 'GETFILEBLOCKLOCATIONS')
      return say(response, { BlockLocations: { BlockLocation: this.blocks } });
    if (op === 'OPEN') return this.#redirect(url, response);
    refuse(response, 400, 'IllegalArgumentException', `${op} is not known here`);
  }

  /** To the first DataNode with a copy that is not left out. */
  #redirect(url: URL, response: ServerResponse): void {
    const excluded = (url.searchParams.get('excludedatanodes') ?? '').split(',');
    const name = this.blocks[0]?.names.find((one) => !excluded.includes(one));
    if (name === undefined)
      return refuse(response, 403, 'IOException', 'No active and not excluded nodes contain this block');
    const host = this.hosts[Number(/\.(\d+):/.exec(name)?.[1]) - 1];
    response.writeHead(307, { location: `http://${host}:9864${url.pathname}${url.search}` }).end();
  }

  #dataNode(host: string, request: IncomingMessage, response: ServerResponse): void {
    const { searchParams } = new URL(request.url ?? '', 'http://fake');
    const [offset, length] = [Number(searchParams.get('offset')), Number(searchParams.get('length'))];
    const told = this.conduct.get(host) ?? [];
    const conduct = (told.length > 1 ? told.shift() : told[0]) ?? 'serves';
    this.reads.push(host);
    this.whenRead(host);
    if (conduct === 'hangs up') return void request.socket.destroy();
    if (typeof conduct === 'number') return void response.writeHead(conduct).end('no');
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': length });
    if (conduct === 'serves') return void response.end(this.data.subarray(offset, offset + length));
    response.flushHeaders();
    setTimeout(() => request.socket.destroy(), 20);
  }
}

function say(response: ServerResponse, answer: object): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
}

function refuse(response: ServerResponse, status: number, exception: string, message: string): void {
  response
    .writeHead(status, { 'content-type': 'application/json' })
    .end(JSON.stringify({ RemoteException: { exception, message } }));
}
