// SPDX-License-Identifier: Apache-2.0
/** OPEN by range: streamed, with every byte accounted for, and around DataNodes that are dead. */
import { ANSWERS, parseAnswer, type BlockLocation } from './answers.js';
import type { WebHdfsClient } from './client.js';
import { WebHdfsError } from './errors.js';
import type { Redirect } from './namenodes.js';
import { DEFAULTS } from './options.js';
import { placeOf, type Exchange } from './transport.js';
import { Watch } from './watch.js';

export interface RangeOptions {
  /** Bytes. Ranges under 16 MiB are dear: the DataNode reopens the file for each. */
  offset: number;
  length: number;
  /** Of the DataNode's reads; half the CPU of the default. */
  bufferSize?: number;
  /** IP:PORT of data transfer (not of HTTP, which would be ignored silently). */
  excludeDataNodes?: string[];
  signal?: AbortSignal | undefined;
}

const BUFFER_SIZE = 1024 * 1024;
/** Failures in a row without a byte between them. */
const TRIES = 6;

/** The range from one DataNode of the NameNode's choice. Ends after exactly `length` bytes, or throws. */
export async function* openRange(
  client: WebHdfsClient,
  path: string,
  options: RangeOptions,
): AsyncGenerator<Buffer, void> {
  if (options.length === 0) return;
  const watch = new Watch(client.options.requestMs ?? DEFAULTS.requestMs, options.signal);
  const exchange: Exchange = {
    what: `OPEN ${path}`,
    method: 'GET',
    ...(await redirectOf(client, path, options)),
    dataNode: true,
  };
  let received = 0;
  let answered = false;
  try {
    const pieces = (await watch.wait(client.transport.head(exchange, watch.signal)))[
      Symbol.asyncIterator
    ]() as AsyncIterator<Buffer>;
    answered = true;
    for (let piece = await watch.wait(pieces.next()); !piece.done; piece = await watch.wait(pieces.next())) {
      received += piece.value.length;
      if (received > options.length) break;
      yield piece.value;
    }
  } catch (error) {
    throw watch.failure(exchange.what, error, { ...placeOf(exchange), answered });
  } finally {
    watch.cancel();
  }
  if (received !== options.length) throw unevenError(exchange, received, options.length);
}

/**
 * The range, going on after a DataNode that fails with the others that have it. 'lost-block': there are none.
 */
export async function* readRange(
  client: WebHdfsClient,
  path: string,
  options: RangeOptions,
): AsyncGenerator<Buffer, void> {
  const excluded = new Set(options.excludeDataNodes);
  const end = options.offset + options.length;
  let at = options.offset;
  for (let failures = 0; at < end;) {
    try {
      for await (const piece of openRange(client, path, {
        ...options,
        offset: at,
        length: end - at,
        excludeDataNodes: [...excluded],
      })) {
        at += piece.length;
        failures = 0;
        yield piece;
      }
    } catch (error) {
      if (!(error instanceof WebHdfsError) || !mayReadElsewhere(error) || ++failures === TRIES) throw error;
      const locations = await client.blockLocations(path, {
        offset: at,
        length: end - at,
        signal: options.signal,
      });
      for (const name of transferNames(error.node ?? '', locations)) excluded.add(name);
    }
  }
}

const mayReadElsewhere = ({ kind, dataNode }: WebHdfsError): boolean =>
  dataNode && (kind === 'unreachable' || kind === 'timeout');

/**
 * The node that serves HTTP at `node`, as the addresses of data transfer that OPEN can exclude. A URL has its
 * host in lower case, the cluster need not.
 */
export function transferNames(node: string, locations: readonly BlockLocation[]): string[] {
  const host = hostOf(node);
  return locations.flatMap(({ hosts, names }) =>
    names.filter((name, i) => hosts[i]?.toLowerCase() === host || hostOf(name) === host),
  );
}

const hostOf = (address: string): string => address.replace(/:\d+$/, '').toLowerCase();

/** Gateways (HttpFS) that hand out the data themselves, unless they are asked where to get it. */
const gateways = new WeakSet<WebHdfsClient>();

async function redirectOf(client: WebHdfsClient, path: string, options: RangeOptions): Promise<Redirect> {
  const noredirect = gateways.has(client) || undefined;
  const parameters = {
    offset: options.offset,
    length: options.length,
    buffersize: options.bufferSize ?? BUFFER_SIZE,
    excludedatanodes: options.excludeDataNodes?.join(',') || undefined,
    noredirect,
  };
  const { what, from, redirect, body } = await client.nameNodes.ask({
    op: 'OPEN',
    method: 'GET',
    path,
    parameters,
    idempotent: true,
    leadsOn: true,
    signal: options.signal,
  });
  if (redirect) return redirect;
  if (noredirect) return client.nameNodes.reachable(what, parseAnswer(ANSWERS.location, what, body), from);
  gateways.add(client);
  return redirectOf(client, path, options);
}

function unevenError(exchange: Exchange, received: number, length: number): WebHdfsError {
  const said =
    received > length
      ? `more than the ${length} bytes asked for`
      : `ended after ${received} of ${length} bytes`;
  return new WebHdfsError('protocol', `${exchange.what}: ${said} (${placeOf(exchange).node})`, {
    ...placeOf(exchange),
    answered: true,
  });
}
