// SPDX-License-Identifier: Apache-2.0
import type { ChunkSums } from './checksum.js';

/** How a cluster is reached, and how long it is waited for. */
export interface WebHdfsOptions {
  /** NameNodes (or HttpFS, or a gateway) as http://HOST:PORT or https://HOST:PORT, each tried in turn. */
  nameNodes: string[];
  /** In front of every path: /webhdfs/v1, or /gateway/NAME/webhdfs/v1 behind a gateway. */
  prefix?: string;
  /** user.name of simple authentication. */
  user?: string;
  /** A delegation token, asked for before every operation, since tokens are renewed. */
  token?: () => Promise<string>;
  /**
   * Value of the header Authorization for a host, asked for every request to a NameNode or gateway, and never
   * for one to a host that a redirect names: see `spnego` and `basic`.
   */
  authorization?: (host: string) => Promise<string>;
  /**
   * Where DataNodes really are: 'HOST:PORT' or 'HOST' as the cluster says it, to the same as it can be
   * reached.
   */
  hostMap?: Record<string, string>;
  /** Certificate authority of a swebhdfs cluster, PEM. */
  ca?: string | Buffer;
  /** Our own certificate (with its chain) and its key, PEM, for servers that ask for one. */
  certificate?: { cert: Buffer; key: Buffer };
  /** Where `ca` comes from, for messages. */
  caFile?: string;
  /** Deadline of one request to one node, and of a stream with nothing moving on the network; ms. */
  requestMs?: number;
  /** A faster way to the checksums of what is sent. */
  newChunkSums?: () => ChunkSums;
  /** How long NameNodes are asked over and over while none of them is active; ms. */
  patienceMs?: number;
}

export interface CallOptions {
  signal?: AbortSignal | undefined;
}

export const DEFAULTS = { prefix: '/webhdfs/v1', requestMs: 30_000, patienceMs: 60_000 } as const;

/**
 * `webhdfs://nn1:9870,nn2:9870` (or swebhdfs://), as addresses of NameNodes. The path, if any, is the
 * caller's.
 */
export function nameNodesOf(url: string): string[] {
  const [, secure, hosts] = /^(s?)webhdfs:\/\/([^/?#@]+)/.exec(url) ?? [];
  if (!hosts)
    throw new TypeError(`not a webhdfs:// or swebhdfs:// URL with a host: ${url.replace(/\?.*/s, '')}`);
  return hosts.split(',').map((host) => `${secure ? 'https' : 'http'}://${host}`);
}
