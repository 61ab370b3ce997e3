// SPDX-License-Identifier: Apache-2.0
/**
 * CREATE in two steps, streamed: the NameNode names a DataNode, which takes the data as fast as it can write
 * it.
 */
import type { ClientRequest, IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { ChecksumOnTheWay } from './checksum.js';
import type { WebHdfsClient } from './client.js';
import { WebHdfsError } from './errors.js';
import { NEVER_REACHED, type Redirect } from './namenodes.js';
import { DEFAULTS } from './options.js';
import { accept, placeOf, type Exchange } from './transport.js';
import { Watch } from './watch.js';

export interface CreateOptions {
  /** Copies. Ignored in an erasure-coded directory. */
  replication: number;
  /** Bytes; quota is charged a whole block for each copy. A multiple of 512. */
  blockSize: number;
  /** Octal. */
  permission?: string;
  /** Replaces a file that is there. Else it is 'exists'. */
  overwrite?: boolean;
  /**
   * CREATE and more: IGNORE_CLIENT_LOCALITY spreads the blocks of a file of one copy, SYNC_BLOCK syncs each
   * to disk.
   */
  createFlags?: string[];
  /** IP:PORT of data transfer; these do not become the receiver. */
  excludeDataNodes?: string[];
  /** Among the receivers that the NameNode offers; by default the first that it does not offer in vain. */
  chooseReceiver?: ChooseReceiver | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Asks the NameNode for a receiver, with these flags besides those of the options. Another time it may well
 * offer another.
 */
export type OfferReceiver = (moreFlags?: readonly string[]) => Promise<Redirect>;
/** `unreachable`: names of those that were tried for this file and not reached. */
export type ChooseReceiver = (offer: OfferReceiver, unreachable: ReadonlySet<string>) => Promise<Redirect>;

export interface Uploaded {
  bytes: number;
  /** Of what was sent; compare with the cluster's by `sameChecksum`. */
  checksum: string;
}

/** A receiver that is dead is offered until the NameNode has noticed; which one is offered is chance. */
const RECEIVERS = 8;
/** How long a file that was asked for is waited for before data is sent all the same; ms. */
const MADE_MS = 15_000;

/**
 * A file being written. After an error, or without `close`, a file that is short (or open, or empty) may be
 * left under this name: only the caller knows whether it is his to delete. Writes are not made at the same
 * time.
 *
 * A DataNode that refuses midway (quota, lease) answers and hangs up at once; the answer can be lost to the
 * hanging up, and then the error is 'unreachable'.
 */
export class Upload {
  /** The DataNode that takes the data: host:port as the cluster names it. */
  readonly receiver: string;
  readonly #exchange: Exchange;
  readonly #request: ClientRequest;
  readonly #watch: Watch;
  readonly #answered: Promise<IncomingMessage>;
  readonly #checksum: ChecksumOnTheWay;
  #failure: WebHdfsError | undefined;
  #waiting: { resolve: () => void; reject: (error: WebHdfsError) => void } | undefined;
  #bytes = 0;
  #ended = false;

  private constructor(
    receiver: string,
    exchange: Exchange,
    request: ClientRequest,
    watch: Watch,
    checksum: ChecksumOnTheWay,
    answer: Promise<IncomingMessage>,
  ) {
    this.receiver = receiver;
    this.#exchange = exchange;
    this.#request = request;
    this.#watch = watch;
    this.#checksum = checksum;
    this.#answered = answer.then((response) => accept(exchange, response));
    this.#answered.then(
      () => this.#expectEnd(),
      (error: unknown) => this.#fail(error),
    );
  }

  /**
   * Resolves when the file has been made, so permission, safe mode and a name that exists are told before any
   * data is sent.
   */
  static async begin(client: WebHdfsClient, path: string, options: CreateOptions): Promise<Upload> {
    const choose = options.chooseReceiver ?? firstOffered;
    const unreachable = new Set<string>();
    for (let attempt = 1; ; attempt++) {
      let receiver = '';
      try {
        const before = await fileIdOf(client, path, options);
        const redirect = await choose((moreFlags) => offerOf(client, path, options, moreFlags), unreachable);
        receiver = redirect.name;
        const upload = Upload.#to(redirect, client, path, options);
        await upload.#untilMade(
          async () => takesDataFirst(redirect) || (await fileIdOf(client, path, options)) !== before,
        );
        return upload;
      } catch (error) {
        const again =
          error instanceof WebHdfsError && error.dataNode && NEVER_REACHED.has(error.exception ?? '');
        if (!again || attempt === RECEIVERS) throw error;
        unreachable.add(receiver);
      }
    }
  }

  static #to(redirect: Redirect, client: WebHdfsClient, path: string, options: CreateOptions): Upload {
    const exchange: Exchange = {
      what: `CREATE ${path}`,
      method: 'PUT',
      ...redirect,
      dataNode: true,
      headers: {
        ...redirect.headers,
        'Content-Type': 'application/octet-stream',
        'Transfer-Encoding': 'chunked',
      },
    };
    const watch = new Watch(client.options.requestMs ?? DEFAULTS.requestMs, options.signal);
    const request = client.transport.begin(exchange, watch.signal);
    return new Upload(
      redirect.name,
      exchange,
      request,
      watch,
      new ChecksumOnTheWay(options.blockSize, client.options.newChunkSums?.()),
      client.transport.responseTo(exchange, request),
    );
  }

  /** Resolves when the connection has taken all of it; until then the buffer must not be changed. */
  async write(data: Buffer): Promise<void> {
    if (this.#failure) throw this.#failure;
    this.#checksum.update(data);
    this.#bytes += data.length;
    const taken = this.#notify();
    // An error that is told here is told by the failure as well.
    this.#request.write(data, (error) => error ?? this.#waiting?.resolve());
    await this.#watch.wait(taken);
    if (this.#failure) throw this.#failure;
  }

  /** Resolves when HDFS has closed the file. */
  async close(): Promise<Uploaded> {
    if (this.#failure) throw this.#failure;
    this.#ended = true;
    this.#request.end();
    try {
      (await this.#watch.wait(this.#answered)).resume();
    } catch (error) {
      throw this.#fail(error);
    } finally {
      this.#watch.end();
    }
    return { bytes: this.#bytes, checksum: this.#checksum.digest() };
  }

  /** Cuts the connection. Safe twice, and after `close`. */
  abort(): void {
    this.#watch.cancel();
  }

  /**
   * A DataNode says 100 Continue before it has asked for the file to be made, so only the NameNode knows that
   * it was. Data sent earlier would meet a connection that was closed with a refusal, and the refusal would
   * be lost.
   */
  async #untilMade(made: () => Promise<boolean>): Promise<void> {
    this.#request.flushHeaders();
    const deadline = performance.now() + MADE_MS;
    for (let pause = 5; !this.#failure && performance.now() < deadline; pause = Math.min(2 * pause, 250)) {
      const there = await made().catch((error: unknown) => {
        throw this.#fail(error);
      });
      if (there) break;
      await sleep(pause);
    }
    if (this.#failure) throw this.#failure;
  }

  #expectEnd(): void {
    if (!this.#ended)
      this.#fail(
        new WebHdfsError(
          'protocol',
          `${this.#exchange.what}: answered before all was sent`,
          placeOf(this.#exchange),
        ),
      );
  }

  #notify(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      if (this.#failure) reject(this.#failure);
    });
  }

  #fail(error: unknown): WebHdfsError {
    this.#failure ??= this.#watch.failure(this.#exchange.what, error, placeOf(this.#exchange));
    this.#watch.cancel();
    this.#waiting?.reject(this.#failure);
    return this.#failure;
  }
}

/**
 * HttpFS makes the file when data comes, and reads on when it refuses, so that the refusal is not lost. A
 * proxy in front of a gateway (nginx, by default) passes the request on with its first data: waited for, each
 * file would cost MADE_MS.
 */
const takesDataFirst = ({ url, isGateway }: Redirect): boolean =>
  isGateway || url.searchParams.get('data') === 'true';

/** A gateway that knows no ids says 0. */
async function fileIdOf(
  client: WebHdfsClient,
  path: string,
  { signal }: CreateOptions,
): Promise<number | undefined> {
  try {
    return (await client.status(path, { signal })).fileId ?? 0;
  } catch (error) {
    if (error instanceof WebHdfsError && error.kind === 'missing') return undefined;
    throw error;
  }
}

async function firstOffered(offer: OfferReceiver, unreachable: ReadonlySet<string>): Promise<Redirect> {
  let offered = await offer();
  for (let again = 0; again < RECEIVERS && unreachable.has(offered.name); again++) offered = await offer();
  return offered;
}

async function offerOf(
  client: WebHdfsClient,
  path: string,
  options: CreateOptions,
  moreFlags: readonly string[] = [],
): Promise<Redirect> {
  const flags = [...(options.createFlags ?? []), ...moreFlags];
  const parameters = {
    replication: options.replication,
    blocksize: options.blockSize,
    permission: options.permission,
    overwrite: options.overwrite ?? false,
    createflag: flags.length > 0 ? flags.join(',') : undefined,
    excludedatanodes: options.excludeDataNodes?.join(','),
  };
  const { what, redirect } = await client.nameNodes.ask({
    op: 'CREATE',
    method: 'PUT',
    path,
    parameters,
    idempotent: true,
    leadsOn: true,
    signal: options.signal,
  });
  if (!redirect) throw new WebHdfsError('protocol', `${what}: no DataNode was named`);
  return redirect;
}

/** A whole file, from pieces. */
export async function upload(
  client: WebHdfsClient,
  path: string,
  data: Iterable<Buffer> | AsyncIterable<Buffer>,
  options: CreateOptions,
): Promise<Uploaded> {
  const file = await Upload.begin(client, path, options);
  try {
    for await (const piece of data) await file.write(piece);
    return await file.close();
  } catch (error) {
    file.abort();
    throw error;
  }
}
