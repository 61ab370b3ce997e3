// SPDX-License-Identifier: Apache-2.0
/**
 * Asks the NameNode that is active: finds it, follows it when it changes, waits a while when there is none.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { WebHdfsError } from './errors.js';
import { DEFAULTS, type WebHdfsOptions } from './options.js';
import { type Exchange, type Transport } from './transport.js';

export interface Question {
  op: string;
  method: Exchange['method'];
  /** Absolute, as HDFS knows it. */
  path: string;
  parameters?: Record<string, string | number | boolean | undefined>;
  /** May be asked again when nobody knows whether it was carried out. */
  idempotent: boolean;
  /** Its answer may send us on to where the data is; no other may. */
  leadsOn?: true;
  signal?: AbortSignal | undefined;
}

/** Where to go for the data. */
export interface Redirect {
  url: URL;
  /** host:port as the cluster says it, before the host map. */
  name: string;
  /** It is who answered: a gateway, which takes the data for a DataNode that nobody sees. */
  isGateway: boolean;
  /** With a login, where it is a gateway. */
  headers: Record<string, string>;
}

export interface Answer {
  what: string;
  /** Of the NameNode that answered. */
  from: URL;
  redirect: Redirect | undefined;
  body: string;
}

/** The connection was never made, so nothing was carried out. */
export const NEVER_REACHED = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTDOWN',
  'ETIMEDOUT',
]);
const BACKOFF_MS = { first: 100, most: 5000 };

export class NameNodes {
  readonly #options: WebHdfsOptions;
  readonly #transport: Transport;
  readonly #addresses: URL[];
  /** By hosts in lower case, as URLs have them. */
  readonly #hostMap: ReadonlyMap<string, string>;
  #active = 0;

  constructor(options: WebHdfsOptions, transport: Transport) {
    if (options.nameNodes.length === 0) throw new TypeError('no NameNode is given');
    this.#options = options;
    this.#transport = transport;
    this.#addresses = options.nameNodes.map((address) => new URL(address));
    this.#hostMap = new Map(
      Object.entries(options.hostMap ?? {}).map(([host, at]) => [host.toLowerCase(), at]),
    );
  }

  /** All of them; first the one that answers, as far as is known. */
  get inTurn(): readonly URL[] {
    return [...this.#addresses.slice(this.#active), ...this.#addresses.slice(0, this.#active)];
  }

  async ask(question: Question): Promise<Answer> {
    const start = performance.now();
    const patience = this.#options.patienceMs ?? DEFAULTS.patienceMs;
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#askOne(question, this.#active);
      } catch (error) {
        if (!(error instanceof WebHdfsError) || question.signal?.aborted || !mayAskAgain(error, question))
          throw error;
        // Another NameNode may prove who it is; waiting makes none of them do it.
        if (error.kind === 'certificate' && attempt + 1 >= this.#addresses.length) throw error;
        this.#active = (this.#active + 1) % this.#addresses.length;
        const pause = this.#pause(attempt);
        if (performance.now() - start + pause > patience) throw error;
        await sleep(pause, undefined, question.signal ? { signal: question.signal } : {}).catch(
          (cause: unknown) => {
            throw new WebHdfsError('aborted', `${whatOf(question)}: aborted`, { cause });
          },
        );
      }
    }
  }

  /**
   * The first round goes from node to node at once; after it each pause is longer, and a little random so
   * that clients spread out.
   */
  #pause(attempt: number): number {
    const round = Math.floor((attempt + 1) / this.#addresses.length);
    if (round === 0) return 0;
    return Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** Math.min(round, 10)) * (0.5 + Math.random() / 2);
  }

  async #askOne(question: Question, index: number): Promise<Answer> {
    const what = whatOf(question);
    const url = await this.#urlOf(question, index);
    const headers = await this.#login(url);
    const exchange: Exchange = { what, method: question.method, url, dataNode: false, headers };
    const { response, body } = await this.#transport.whole(
      exchange,
      this.#options.requestMs ?? DEFAULTS.requestMs,
      question.signal,
    );
    const location = question.leadsOn ? response.headers.location : undefined;
    if (location === undefined) refuseRedirect(what, url, response.statusCode ?? 0);
    return {
      what,
      from: url,
      redirect: location === undefined ? undefined : await this.reachable(what, location, url),
      body,
    };
  }

  async #login({ hostname }: URL): Promise<Record<string, string>> {
    const authorization = await this.#options.authorization?.(hostname);
    return authorization === undefined ? {} : { authorization };
  }

  async #urlOf({ op, path, parameters = {} }: Question, index: number): Promise<URL> {
    if (!path.startsWith('/')) throw new WebHdfsError('invalid', `${op}: not an absolute path: ${path}`);
    const url = new URL(this.#addresses[index] ?? '');
    url.pathname =
      (this.#options.prefix ?? DEFAULTS.prefix) + path.split('/').map(encodeURIComponent).join('/');
    url.searchParams.set('op', op);
    if (this.#options.token !== undefined) url.searchParams.set('delegation', await this.#options.token());
    else if (this.#options.user !== undefined) url.searchParams.set('user.name', this.#options.user);
    for (const [key, value] of Object.entries(parameters))
      if (value !== undefined) url.searchParams.set(key, String(value));
    return url;
  }

  /**
   * Where the cluster sends us. What a NameNode says is not believed further than the store's URL goes:
   * from TLS only to TLS, and to no other protocol; a login in the address is not sent, and our own only
   * back to who was asked.
   */
  async reachable(what: string, location: string, from: URL): Promise<Redirect> {
    const url = parsedLocation(what, location, from);
    const details = { node: from.host, answered: true };
    if (url.protocol !== 'https:' && url.protocol !== 'http:')
      throw new WebHdfsError(
        'protocol',
        `${what}: the NameNode names an address that is not one of HTTP (${from.host})`,
        details,
      );
    if (from.protocol === 'https:' && url.protocol !== 'https:')
      throw new WebHdfsError(
        'insecure',
        `${what}: ${from.host} redirects to ${url.host} without TLS, where the data would cross the network `
          + `readable by anybody`,
        details,
      );
    url.username = '';
    url.password = '';
    const name = url.host;
    // A host without a port leaves the port as it is.
    url.host = this.#hostMap.get(url.host) ?? this.#hostMap.get(url.hostname) ?? url.host;
    // A gateway may know itself by another name, which the map leads back to it.
    const isGateway = url.origin === from.origin;
    return { url, name, isGateway, headers: isGateway ? await this.#login(from) : {} };
  }
}

/** Of a login page, or a proxy that has moved: whatever stands in it, nothing was carried out. */
function refuseRedirect(what: string, { host }: URL, status: number): void {
  if (status < 300) return;
  throw new WebHdfsError('protocol', `${what}: ${host} sends elsewhere (HTTP status ${status})`, {
    node: host,
    status,
  });
}

function parsedLocation(what: string, location: string, from: URL): URL {
  try {
    return new URL(location, from);
  } catch (cause) {
    throw new WebHdfsError('protocol', `${what}: the NameNode names an invalid address (${from.host})`, {
      node: from.host,
      answered: true,
      cause,
    });
  }
}

export const whatOf = ({ op, path }: { op: string; path: string }): string => `${op} ${path}`;

function mayAskAgain(error: WebHdfsError, question: Question): boolean {
  if (error.kind === 'standby' || error.kind === 'retriable' || error.kind === 'certificate') return true;
  if (error.kind === 'unreachable') return question.idempotent || NEVER_REACHED.has(error.exception ?? '');
  return error.kind === 'timeout' && question.idempotent;
}
