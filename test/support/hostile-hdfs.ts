// SPDX-License-Identifier: Apache-2.0
/**
 * Servers in the place of an HDFS that do what a script says, over TLS or not: what a cluster that was taken
 * over, or somebody on the network, may answer.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import {
  createServer as createPlain,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createSecure } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

export interface Asked {
  method: string;
  op: string;
  /** As HDFS knows it. */
  path: string;
  parameters: URLSearchParams;
  headers: IncomingMessage['headers'];
}

/** An answer of JSON, one with a status and headers, or a function that does anything. */
export type Reply =
  | { json: object }
  | { status: number; headers?: Record<string, string>; body?: string }
  | ((response: ServerResponse, request: IncomingMessage) => void);

export interface HostileServer {
  port: number;
  asked: Asked[];
  /** Bytes that were sent to it. */
  received(): number;
}

export class Hostile {
  readonly #servers: Server[] = [];
  readonly #directories: string[] = [];

  /** A server on 127.0.0.1 that answers by the script; with a certificate over TLS. */
  async serve(script: (asked: Asked) => Reply, certificate?: Certificate): Promise<HostileServer> {
    const asked: Asked[] = [];
    let received = 0;
    const listener = (request: IncomingMessage, response: ServerResponse): void => {
      request.on('data', (data: Buffer) => (received += data.length));
      asked.push(askedBy(request));
      answer(script(asked.at(-1)!), request, response);
    };
    const server = certificate ? createSecure(certificate, listener) : createPlain(listener);
    this.#servers.push(server);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return { port: (server.address() as AddressInfo).port, asked, received: () => received };
  }

  /** An authority, and a certificate that it signed for these names ("DNS:dn1", "IP:127.0.0.1"). */
  certificate(names: readonly string[], options: { expired?: boolean } = {}): Certificate {
    const directory = mkdtempSync(join(tmpdir(), 'pars-certificates-'));
    this.#directories.push(directory);
    const at = (name: string): string => join(directory, name);
    const openssl = (...words: string[]): void => void execFileSync('openssl', words, { stdio: 'ignore' });
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    openssl(
      'req',
      '-x509',
      ...key,
      '-days',
      '2',
      '-subj',
      `/CN=Authority ${basename(directory)}`,
      '-keyout',
      at('ca.key'),
      '-out',
      at('ca.pem'),
    );
    openssl(
      'req',
      ...key,
      '-subj',
      '/CN=a node',
      '-addext',
      `subjectAltName=${names.join(',')}`,
      '-keyout',
      at('key'),
      '-out',
      at('csr'),
    );
    const days = options.expired ? '-1' : '2';
    openssl(
      'x509',
      '-req',
      '-in',
      at('csr'),
      '-CA',
      at('ca.pem'),
      '-CAkey',
      at('ca.key'),
      '-days',
      days,
      '-copy_extensions',
      'copy',
      '-out',
      at('pem'),
    );
    return { key: readFileSync(at('key')), cert: readFileSync(at('pem')), caFile: at('ca.pem') };
  }

  async stop(): Promise<void> {
    for (const server of this.#servers.splice(0)) {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    }
    for (const directory of this.#directories.splice(0)) rmSync(directory, { recursive: true });
  }
}

export interface Certificate {
  key: Buffer;
  cert: Buffer;
  caFile: string;
}

function askedBy(request: IncomingMessage): Asked {
  const { pathname, searchParams } = new URL(request.url ?? '', 'http://hostile');
  return {
    method: request.method ?? '',
    op: searchParams.get('op') ?? '',
    path: pathname.replace('/webhdfs/v1', ''),
    parameters: searchParams,
    headers: request.headers,
  };
}

function answer(reply: Reply, request: IncomingMessage, response: ServerResponse): void {
  if (typeof reply === 'function') return reply(response, request);
  if ('json' in reply)
    return void response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify(reply.json));
  response.writeHead(reply.status, reply.headers).end(reply.body);
}

export const MISSING: Reply = {
  status: 404,
  body: JSON.stringify({ RemoteException: { exception: 'FileNotFoundException', message: 'not here' } }),
};

/** What GETFILESTATUS and a listing say of one entry. */
export function entry(pathSuffix: string, type: 'FILE' | 'DIRECTORY' = 'FILE', length = 0): object {
  const common = { owner: 'root', group: 'root', permission: '600', modificationTime: 1, accessTime: 1 };
  return { pathSuffix, type, length, replication: 1, blockSize: 1 << 20, fileId: 7, ...common };
}

export function listing(entries: readonly object[], remainingEntries: number): Reply {
  const partialListing = { FileStatuses: { FileStatus: entries } };
  return { json: { DirectoryListing: { partialListing, remainingEntries } } };
}
