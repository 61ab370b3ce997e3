// SPDX-License-Identifier: Apache-2.0
/**
 * The URL of a store in HDFS: webhdfs://NAMENODE:PORT[,NAMENODE:PORT]/DIRECTORY[?OPTION=VALUE&...], or
 * swebhdfs:// over TLS. Secrets are never part of it: it is printed, and a stub carries it.
 */
import { userInfo } from 'node:os';
import { createSecureContext } from 'node:tls';
import { ParsError } from '../../errors.js';
import { readTrusted } from '../../system/ownership.js';
import { printableUrl } from '../printable-url.js';
import { basic, nameNodesOf, type WebHdfsOptions } from '../../webhdfs/index.js';

export interface HdfsAddress {
  /** The URL as it is shown and recorded. */
  url: string;
  /** Directory in HDFS, absolute, without a slash at its end. */
  root: string;
  options: WebHdfsOptions;
}

const SHAPE = /^(s?webhdfs:\/\/[^/?#@\s]+)(\/[^?#]*)(?:\?([^#]*))?$/;
const OPTIONS = [
  'user',
  'token-file',
  'login-file',
  'ca-file',
  'cert-file',
  'key-file',
  'prefix',
  'map',
] as const;
const HINT =
  `e.g. webhdfs://nn1:9870,nn2:9870/pars; options: ` + `${OPTIONS.map((name) => `${name}=...`).join(', ')}`;

export function parseHdfsUrl(url: string): HdfsAddress {
  const [, hosts, path = '', query = ''] = SHAPE.exec(url) ?? [];
  if (!hosts) throw usage(`"${printableUrl(url)}" is not the URL of a directory in HDFS`);
  const parameters = new URLSearchParams(query);
  const unknown = [...parameters.keys()].find((key) => !(OPTIONS as readonly string[]).includes(key));
  if (unknown !== undefined) throw usage(`the URL of the store has an unknown option "${unknown}"`);
  const options = { nameNodes: nameNodesOf(hosts), ...optionsOf(parameters) };
  if (parameters.has('login-file') && url.startsWith('webhdfs:'))
    throw usage('login-file=... is for swebhdfs://: without TLS the password could be read on the network');
  return { url, root: rootOf(path), options };
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
  const [tokenFile, loginFile, caFile] = [value('token-file'), value('login-file'), value('ca-file')];
  const prefix = value('prefix');
  const map = parameters.getAll('map').map(mapping);
  return {
    // A gateway that checks a login knows who it is.
    ...(loginFile === undefined || parameters.has('user')
      ? { user: value('user') ?? userInfo().username }
      : {}),
    ...(tokenFile !== undefined && { token: async () => readSecret('token', tokenFile) }),
    ...(loginFile !== undefined && { authorization: basic(() => readSecret('login', loginFile)) }),
    ...(caFile !== undefined && { ca: readPem('certificate authority', caFile), caFile }),
    ...certificateOf(value('cert-file'), value('key-file')),
    ...(prefix !== undefined && { prefix: `/${prefix.replace(/^\/+|\/+$/g, '')}` }),
    ...(map.length > 0 && { hostMap: Object.fromEntries(map) }),
  };
}

/** A file may hold both. */
function certificateOf(certFile?: string, keyFile = certFile): Pick<WebHdfsOptions, 'certificate'> {
  if (keyFile === undefined) return {};
  if (certFile === undefined) throw usage('key-file=... is the key of a certificate: cert-file=...');
  const cert = readPem('certificate', certFile);
  const key = readPem('key', keyFile, true);
  try {
    createSecureContext({ cert, key });
  } catch (cause) {
    throw usage(
      `${certFile} and ${keyFile} are not a certificate and its key, in PEM without a passphrase`,
      cause,
    );
  }
  return { certificate: { cert, key } };
}

/** "SAID=REAL", each HOST or HOST:PORT. */
function mapping(text: string): [string, string] {
  const [said, real, ...more] = text.split('=');
  if (!said || !real || more.length > 0)
    throw usage(`map=${text} is not map=HOST=HOST (as the cluster says it, and where it is)`);
  return [said, real];
}

function readPem(what: string, file: string, secret = false): Buffer {
  try {
    return readTrusted(`the ${what} of the store`, file, { secret });
  } catch (cause) {
    if (cause instanceof ParsError) throw cause;
    throw new ParsError('usage', `cannot read the ${what} of the store: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** Read for every request: whoever renews it replaces the file. */
function readSecret(what: 'token' | 'login', file: string): string {
  try {
    return readTrusted(`the ${what} of the store`, file, { secret: what === 'login' })
      .toString()
      .trim();
  } catch (cause) {
    if (cause instanceof ParsError) throw cause;
    const holds = { token: 'a delegation token', login: 'a line of USER:PASSWORD' }[what];
    throw new ParsError('refused', `cannot read the ${what} of the store: ${(cause as Error).message}`, {
      hint: `${what}-file=... in the URL of the store names the file of ${holds}`,
      cause,
    });
  }
}

function usage(message: string, cause?: unknown): ParsError {
  return new ParsError('usage', message, { hint: HINT, cause });
}
