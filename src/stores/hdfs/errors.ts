// SPDX-License-Identifier: Apache-2.0
/** What HDFS answers, as typed errors: what is wrong, and what to do about it. */
import { ParsError, type ErrorKind } from '../../errors.js';
import { WebHdfsError, type WebHdfsFailure } from '../../webhdfs/index.js';

const MEANING: Record<
  Exclude<WebHdfsFailure, 'aborted'>,
  { kind: ErrorKind; hint?: string; passing?: true }
> = {
  missing: { kind: 'missing' },
  exists: { kind: 'busy' },
  'not-empty': { kind: 'busy' },
  denied: {
    kind: 'refused',
    hint:
      "give the store's directory to this user (hdfs dfs -chown), or name another with ?user=... in "
      + "the store's URL",
  },
  login: {
    kind: 'refused',
    // A token or ticket that has expired is renewed by a job of its own.
    passing: true,
    hint:
      'a cluster with Kerberos wants a delegation token that is still good (token-file=...), a gateway its '
      + "user and password (login-file=...), in the store's URL",
  },
  quota: {
    kind: 'no-space',
    hint:
      'raise the quota of the directory (hdfs dfsadmin -setSpaceQuota, -setQuota), or make room: '
      + 'pars prune',
  },
  'no-space': {
    kind: 'no-space',
    hint: 'no DataNode has room for another block: free some, add DataNodes, or make room: pars prune',
  },
  'safe-mode': {
    kind: 'unreachable',
    hint: 'the NameNode takes no writes now; if it does not leave by itself: hdfs dfsadmin -safemode leave',
  },
  standby: { kind: 'unreachable', hint: 'no NameNode is active; see: hdfs haadmin -getAllServiceState' },
  retriable: { kind: 'unreachable', hint: 'the NameNode is starting: try again in a while' },
  lease: { kind: 'busy', hint: 'another client writes the same file: try again' },
  'lost-block': { kind: 'unreachable', hint: 'start the DataNodes that are down, then try again' },
  invalid: { kind: 'refused' },
  key: {
    kind: 'unreachable',
    hint:
      "the cluster does not have, or not give, the key of the store's encryption zone: is its KMS up, is "
      + 'the key there (hadoop key list -metadata), and may this user use it? Until then nothing in the '
      + 'zone can be read, and without the key never',
  },
  insecure: {
    kind: 'refused',
    hint:
      'have DataNodes (and gateways) serve HTTPS (dfs.http.policy HTTPS_ONLY, dfs.datanode.https.address); '
      + 'a store without TLS is one of webhdfs://',
  },
  certificate: {
    kind: 'refused',
    hint:
      "name the file of the cluster's certificate authority with ca-file=... in the store's URL, the node "
      + 'by a name that its certificate bears, or have the certificate renewed',
  },
  unreachable: {
    kind: 'unreachable',
    hint: 'is HDFS up, and are its NameNodes and DataNodes reachable from here?',
  },
  timeout: {
    kind: 'unreachable',
    hint: 'is HDFS up, and are its NameNodes and DataNodes reachable from here?',
  },
  other: {
    kind: 'unreachable',
    hint: 'see what the NameNode and the DataNodes say in their logs, then try again',
  },
  protocol: {
    kind: 'unreachable',
    hint: 'is that the HTTP address of a NameNode (dfs.namenode.http-address)?',
  },
};

/**
 * Everything that is not a WebHdfsError is given back as it is. An abort stays what the caller aborted with.
 */
export function hdfsError(error: unknown, doing: string): unknown {
  if (!(error instanceof WebHdfsError)) return error;
  if (error.kind === 'aborted') return error.cause ?? error;
  const { kind, hint, passing } = MEANING[error.kind];
  return new ParsError(kind, `${doing}: ${error.message}`, {
    cause: error,
    ...(hint === undefined ? {} : { hint }),
    ...(passing && { passing }),
  });
}

export function isHdfs(error: unknown, ...kinds: WebHdfsFailure[]): error is WebHdfsError {
  return error instanceof WebHdfsError && kinds.includes(error.kind);
}
