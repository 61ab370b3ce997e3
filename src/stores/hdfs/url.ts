// SPDX-License-Identifier: Apache-2.0
/**
 * The URL of a store in HDFS: webhdfs://NAMENODE:PORT[,NAMENODE:PORT]/DIRECTORY[?OPTION=VALUE&...], or
 * swebhdfs:// over TLS. Secrets are never part of it: it is printed, and a stub carries it.
 */
import { userInfo } from 'node:os';
import { ParsError } from '../../errors.js';
import { readTrusted } from '../../system/ownership.js';
import { printableUrl } from '../printable-url.js';
import { nameNodesOf, type WebHdfsOptions } from '../../webhdfs/index.js';

export interface HdfsAddress {
  /** The URL as it is shown and recorded. */
  url: string;
  /** Directory in HDFS, absolute, without a slash at its end. */
  root: string;
  options: WebHdfsOptions;
}

const SHAPE = /^(s?webhdfs:\/\/[^/?#@\s]+)(\/[^?#]*)(?:\?([^#]*))?$/;
const OPTIONS = ['user', 'token-file', 'ca-file', 'prefix', 'map'] as const;
const HINT =
  `e.g. webhdfs://nn1:9870,nn2:9870/pars; options: ` + `${OPTIONS.map((name) => `${name}=...`).join(', ')}`;

export function parseHdfsUrl(url: string): HdfsAddress {
  const [, hosts, path = '', query = ''] = SHAPE.exec(url) ?? [];
  if (!hosts) throw usage(`"${printableUrl(url)}" is not the URL of a directory in HDFS`);
  const parameters = new URLSearchParams(query);
  const unknown = [...parameters.keys()].find((key) => !(OPTIONS as readonly string[]).includes(key));
  if (unknown !== undefined) throw usage(`the URL of the store has an unknown option "${unknown}"`);
  return { url, root: rootOf(path), options: { nameNodes: nameNodesOf(hosts), ...optionsOf(parameters) } };
}

/** A store has a directory to itself, so it is never the root of the file system. */
function rootOf(path: string): string {
  const segments = decode(path)
    .split('/')
    .filter((segment) => segment !== '');
  const bad = segments.find((segment) => segment === '.' || segment === '..' || segment.includes(':'));
  if (bad !== undefined) throw usage(`"${bad}" cannot be part of a path in HDFS`);
  if (segments.length === 0) throw usage('the URL of the store names no directory in HDFS');
  return `/${segments.join('/')}`;
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    throw usage(`"${path}" is not a path in a URL`);
  }
}

function optionsOf(parameters: URLSearchParams): Omit<WebHdfsOptions, 'nameNodes'> {
  const value = (name: (typeof OPTIONS)[number]): string | undefined => parameters.get(name) ?? undefined;
  const [tokenFile, caFile, prefix] = [value('token-file'), value('ca-file'), value('prefix')];
  const map = parameters.getAll('map').map(mapping);
  return {
    user: value('user') ?? userInfo().username,
    ...(tokenFile !== undefined && { token: async () => readToken(tokenFile) }),
    ...(caFile !== undefined && { ca: readCa(caFile), caFile }),
    ...(prefix !== undefined && { prefix: `/${prefix.replace(/^\/+|\/+$/g, '')}` }),
    ...(map.length > 0 && { hostMap: Object.fromEntries(map) }),
  };
}

/** "SAID=REAL", each HOST or HOST:PORT. */
function mapping(text: string): [string, string] {
  const [said, real, ...more] = text.split('=');
  if (!said || !real || more.length > 0)
    throw usage(`map=${text} is not map=HOST=HOST (as the cluster says it, and where it is)`);
  return [said, real];
}

function readCa(file: string): Buffer {
  try {
    return readTrusted('the certificate authority of the store', file);
  } catch (cause) {
    if (cause instanceof ParsError) throw cause;
    throw new ParsError(
      'usage',
      `cannot read the certificate authority of the store: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** Read for every request: whoever renews it replaces the file. */
function readToken(file: string): string {
  try {
    return readTrusted('the token of the store', file).toString().trim();
  } catch (cause) {
    if (cause instanceof ParsError) throw cause;
    throw new ParsError('refused', `cannot read the token of the store: ${(cause as Error).message}`, {
      hint: 'token-file=... in the URL of the store names the file of a delegation token',
      cause,
    });
  }
}

function usage(message: string): ParsError {
  return new ParsError('usage', message, { hint: HINT });
}
