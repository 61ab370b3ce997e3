// SPDX-License-Identifier: Apache-2.0
/**
 * What can go wrong, typed by what the caller can do. HDFS answers nearly every failure with 403, so the
 * exception named in the body decides, and for a plain IOException the message.
 */
export type WebHdfsFailure =
  | 'missing' //      no such file or directory
  | 'exists' //       it is there already
  | 'not-empty' //    a directory that is to be deleted holds something
  | 'denied' //       permission
  | 'login' //        no authentication, or one that is not (or no longer) good
  | 'quota' //        of space or names
  | 'no-space' //     no DataNode has room (or none is alive)
  | 'safe-mode' //    the NameNode takes no writes now
  | 'standby' //      this NameNode is not the active one
  | 'retriable' //    the NameNode asks to be asked again
  | 'lease' //        another client writes this file
  | 'lost-block' //   no DataNode that is alive holds this block
  | 'invalid' //      a parameter or an operation that the cluster does not take
  | 'key' //          an encryption zone's, which the cluster does not have or not give
  | 'insecure' //     out of TLS, where all is to be encrypted
  | 'certificate' //  of a node that does not prove who it is
  | 'unreachable' //  no connection, or it broke
  | 'timeout' //      a deadline of this client
  | 'aborted' //      by the caller's signal
  | 'protocol' //     an answer that is none: not HDFS, cut short, not parsable
  | 'other';

export interface WebHdfsErrorDetails {
  /** RemoteException.exception, or the code of a system error (ECONNREFUSED). */
  exception?: string | undefined;
  status?: number | undefined;
  /**
   * host:port of the node that failed, as the cluster names it; never a whole URL, which may hold a token.
   */
  node?: string | undefined;
  /** Whether it was the DataNode, after the redirect. */
  dataNode?: boolean;
  /** Whether the node had begun to answer; true of one that said what is wrong. */
  answered?: boolean;
  cause?: unknown;
}

export class WebHdfsError extends Error {
  readonly kind: WebHdfsFailure;
  readonly exception: string | undefined;
  readonly status: number | undefined;
  readonly node: string | undefined;
  readonly dataNode: boolean;
  readonly answered: boolean;

  constructor(kind: WebHdfsFailure, message: string, details: WebHdfsErrorDetails = {}) {
    super(message, details.cause === undefined ? {} : { cause: details.cause });
    this.name = 'WebHdfsError';
    this.kind = kind;
    this.exception = details.exception;
    this.status = details.status;
    this.node = details.node;
    this.dataNode = details.dataNode ?? false;
    this.answered = details.answered ?? details.status !== undefined;
  }
}

const BY_EXCEPTION: Record<string, WebHdfsFailure> = {
  FileNotFoundException: 'missing',
  FileAlreadyExistsException: 'exists',
  PathIsNotEmptyDirectoryException: 'not-empty',
  AccessControlException: 'denied',
  AuthorizationException: 'denied',
  SecurityException: 'login',
  AuthenticationException: 'login',
  InvalidToken: 'login',
  DSQuotaExceededException: 'quota',
  NSQuotaExceededException: 'quota',
  QuotaByStorageTypeExceededException: 'quota',
  SafeModeException: 'safe-mode',
  StandbyException: 'standby',
  RetriableException: 'retriable',
  AlreadyBeingCreatedException: 'lease',
  RecoveryInProgressException: 'lease',
  LeaseExpiredException: 'lease',
  BlockMissingException: 'lost-block',
  IllegalArgumentException: 'invalid',
  HadoopIllegalArgumentException: 'invalid',
  UnsupportedOperationException: 'invalid',
  InvalidPathException: 'invalid',
};

/**
 * Said by DataNodes and NameNodes, and by a KMS through them, under exceptions of every kind: of a version of
 * a key that is gone, of a user who may not use it, of a KMS that does not answer.
 */
const OF_KEYS =
  /KeyVersion name|No KeyVersion exists|not authorized to perform \[\w+_EEK\]|KMSClientProvider|KeyProvider/i;

/** Messages that only a plain IOException (or one wrapped in another) carries. */
const BY_MESSAGE: [RegExp, WebHdfsFailure][] = [
  [/No active and not excluded nodes contain this block|Could not obtain block/i, 'lost-block'],
  [/could only be written to \d+ of the|Failed to find datanode|No space left on device/i, 'no-space'],
  [/is in safe mode/i, 'safe-mode'],
];

/**
 * A proxy that has nobody behind it, or lost the answer (502, 503, 504): as after a connection that broke,
 * nobody knows whether it was carried out.
 */
const BY_PROXIES: ReadonlySet<number> = new Set([502, 503, 504]);

function kindOf(exception: string | undefined, message: string, status: number): WebHdfsFailure {
  if (exception !== undefined && OF_KEYS.test(message)) return 'key';
  const named = exception === undefined ? undefined : BY_EXCEPTION[exception];
  if (named) return named;
  const said = BY_MESSAGE.find(([pattern]) => pattern.test(message));
  if (said) return said[1];
  if (status === 401) return 'login';
  if (exception === undefined && BY_PROXIES.has(status)) return 'unreachable';
  return exception === undefined ? 'protocol' : 'other';
}

/** The error in an answer that is not a success. */
export function remoteError(
  what: string,
  status: number,
  body: string,
  details: { node: string; dataNode: boolean },
): WebHdfsError {
  const { exception, message } = remoteException(body);
  const kind = kindOf(exception, message, status);
  const said = message === '' ? `HTTP status ${status}` : (message.split('\n')[0] ?? '');
  return new WebHdfsError(kind, `${what}: ${said} (${exception ?? 'no RemoteException'}, ${details.node})`, {
    ...details,
    exception,
    status,
  });
}

function remoteException(body: string): { exception: string | undefined; message: string } {
  try {
    const { RemoteException: remote } = JSON.parse(body) as {
      RemoteException?: { exception?: unknown; message?: unknown };
    };
    const exception = typeof remote?.exception === 'string' ? remote.exception : undefined;
    return { exception, message: typeof remote?.message === 'string' ? remote.message : '' };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return { exception: undefined, message: '' };
  }
}

/** The error of a connection that failed. */
export function transportError(
  what: string,
  cause: unknown,
  details: { node: string; dataNode: boolean; answered?: boolean },
): WebHdfsError {
  if (cause instanceof WebHdfsError) return cause;
  const error = cause instanceof Error ? cause : new Error(String(cause));
  const exception = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  const kind = exception === 'ABORT_ERR' ? 'aborted' : 'unreachable';
  return new WebHdfsError(kind, `${what}: ${details.node}: ${exception ?? error.message}`, {
    ...details,
    exception,
    cause,
  });
}
