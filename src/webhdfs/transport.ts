// SPDX-License-Identifier: Apache-2.0
/**
 * One HTTP exchange. node:http, because DataNodes send `100 Continue` unasked, which fetch takes for an
 * error. Every exchange has a connection of its own: on a kept one, a request lost to its closing cannot be
 * told from one that was carried out.
 */
import { Agent as HttpAgent, request as overHttp, type ClientRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as overHttps } from 'node:https';
import { bare, certificateFault, checkIdentity, serverName } from './certificates.js';
import { WebHdfsError, remoteError } from './errors.js';
import type { WebHdfsOptions } from './options.js';
import { Watch } from './watch.js';

/**
 * Of an answer that is not a stream of file data: a batch of a listing (1000 entries by default), or the
 * blocks of a stretch of a file, are the largest.
 */
const MAX_ANSWER = 16 * 1024 * 1024;

export interface Exchange {
  /** For messages: the operation and the path, no more. */
  what: string;
  method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  url: URL;
  dataNode: boolean;
  /** host:port as the cluster says it, where that is not the URL's. */
  name?: string | undefined;
  headers?: Record<string, string>;
}

export class Transport {
  readonly #http = new HttpAgent({ keepAlive: false });
  readonly #https: HttpsAgent;

  /** Where the authorities that are trusted come from. */
  readonly #trusted: string;

  constructor({ ca, caFile, certificate }: Pick<WebHdfsOptions, 'ca' | 'caFile' | 'certificate'> = {}) {
    this.#trusted = caFile === undefined ? "this system's authorities" : `those of ${caFile}`;
    this.#https = new HttpsAgent({ keepAlive: false, ...(ca === undefined ? {} : { ca }), ...certificate });
  }

  /** What is mapped is asked for by the name that the cluster gives it, wherever it is reached. */
  begin({ method, url, name, headers = {} }: Exchange, signal: AbortSignal): ClientRequest {
    const secure = url.protocol === 'https:';
    const host = name ?? url.host;
    const options = {
      method,
      headers: { ...headers, host },
      signal,
      agent: secure ? this.#https : this.#http,
    };
    const said = bare(new URL(`${url.protocol}//${host}`).hostname);
    const request = secure
      ? overHttps(url, {
          ...options,
          servername: serverName(said),
          checkServerIdentity: checkIdentity(said, bare(url.hostname)),
        })
      : overHttp(url, options);
    // Whoever waits has a listener of its own; an error after that must not end the process.
    return request.on('error', () => undefined);
  }

  /**
   * The answer, whole, within `ms`; of one that is file data, the head only. Throws if it is not a success or
   * a redirect.
   */
  async whole(
    exchange: Exchange,
    ms: number,
    signal: AbortSignal | undefined,
  ): Promise<{ response: IncomingMessage; body: string }> {
    const watch = new Watch(ms, signal);
    try {
      return await watch.wait(this.#roundTrip(exchange, watch.signal));
    } catch (error) {
      throw watch.failure(exchange.what, error, placeOf(exchange));
    } finally {
      watch.cancel();
    }
  }

  async #roundTrip(
    exchange: Exchange,
    signal: AbortSignal,
  ): Promise<{ response: IncomingMessage; body: string }> {
    const response = await this.head(exchange, signal);
    return { response, body: isData(response) ? '' : await bodyOf(exchange, response) };
  }

  /** The answer's head; throws if it is not a success or a redirect. */
  async head(exchange: Exchange, signal: AbortSignal): Promise<IncomingMessage> {
    const request = this.begin(exchange, signal);
    const answered = this.responseTo(exchange, request);
    request.end();
    return accept(exchange, await answered);
  }

  /** The answer's head, whatever it says; throws when the connection fails. */
  responseTo(exchange: Exchange, request: ClientRequest): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      request.once('response', resolve);
      request.once('error', (error) => {
        const fault = certificateFault(error, this.#trusted);
        if (fault === null) return reject(error);
        const place = placeOf(exchange);
        const message = `${exchange.what}: ${place.node}: ${fault}`;
        reject(new WebHdfsError('certificate', message, { ...place, cause: error }));
      });
    });
  }
}

export const placeOf = ({ url, name, dataNode }: Exchange): { node: string; dataNode: boolean } => ({
  node: name ?? url.host,
  dataNode,
});

const isData = ({ statusCode, headers }: IncomingMessage): boolean =>
  statusCode === 200
  && headers['content-type']?.startsWith('application/octet-stream') === true
  && headers['content-length'] !== '0';

export async function accept(exchange: Exchange, response: IncomingMessage): Promise<IncomingMessage> {
  const status = response.statusCode ?? 0;
  if (status >= 200 && status < 400) return response;
  throw remoteError(exchange.what, status, await bodyOf(exchange, response), placeOf(exchange));
}

export async function bodyOf(exchange: Exchange, response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER)
      throw new WebHdfsError(
        'protocol',
        `${exchange.what}: an answer of more than ${MAX_ANSWER} bytes`,
        placeOf(exchange),
      );
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
