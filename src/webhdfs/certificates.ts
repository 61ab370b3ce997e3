// SPDX-License-Identifier: Apache-2.0
/** Whom a TLS connection reaches: names that a certificate may bear, and what is wrong with one, in words. */
import { isIP } from 'node:net';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';

/** Of a certificate, so many names are told. */
const NAMES_TOLD = 8;

const NOT_TRUSTED = 'comes from an authority that is not trusted';
/** The codes of node:tls and OpenSSL (X509_V_ERR_...), in words. */
const FAULTS: Record<string, string> = {
  CERT_HAS_EXPIRED: 'has expired',
  CERT_NOT_YET_VALID: 'is not valid yet (are the clocks right?)',
  CERT_REVOKED: 'has been revoked',
  CERT_SIGNATURE_FAILURE: 'has a wrong signature',
  CERT_UNTRUSTED: 'is not trusted for this use',
  CERT_REJECTED: 'is rejected for this use',
  INVALID_PURPOSE: 'is not one for servers',
  INVALID_CA: 'was signed by one that is not an authority',
  CERT_CHAIN_TOO_LONG: 'has too long a chain of authorities',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'is signed by itself, and is not trusted',
  SELF_SIGNED_CERT_IN_CHAIN: NOT_TRUSTED,
  UNABLE_TO_GET_ISSUER_CERT: NOT_TRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: NOT_TRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: NOT_TRUSTED,
};
/** What a server says of our own certificate (RFC 8446, 6.2), by the codes that OpenSSL makes of it. */
const OURS_REFUSED: [RegExp, string][] = [
  [/CERTIFICATE_REQUIRED$/, 'asks for a client certificate'],
  [/ALERT_UNKNOWN_CA$/, 'does not trust the authority of the client certificate'],
  [/ALERT_CERTIFICATE_EXPIRED$/, 'says that the client certificate has expired'],
  [/ALERT_.*CERTIFICATE|ALERT_ACCESS_DENIED$/, 'refuses the client certificate'],
];
const WRONG_NAME = 'ERR_TLS_CERT_ALTNAME_INVALID';

/**
 * What makes a connection untrusted; null when the error is of another kind. `trusted`: where the authorities
 * come from.
 */
export function certificateFault(error: Error, trusted: string): string | null {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (code === WRONG_NAME) return error.message;
  const refused = code.startsWith('ERR_SSL_')
    ? OURS_REFUSED.find(([pattern]) => pattern.test(code))
    : undefined;
  if (refused !== undefined) return `it ${refused[1]} (cert-file=... and key-file=... in the store's URL)`;
  const fault = FAULTS[code];
  return fault === undefined ? null : `its certificate ${fault} (trusted are ${trusted})`;
}

/**
 * For a node that is reached elsewhere than where the cluster says it is: its certificate bears the name that
 * the cluster gave, or that of the place that the administrator named in its stead.
 */
export function checkIdentity(said: string, reached: string): typeof checkServerIdentity {
  return (_, certificate) => {
    const accepted = [...new Set([said, reached])];
    if (accepted.some((name) => checkServerIdentity(name, certificate) === undefined)) return undefined;
    return nameError(accepted, certificate);
  };
}

function nameError(accepted: readonly string[], certificate: PeerCertificate): Error {
  const error: NodeJS.ErrnoException = new Error(
    `its certificate is not for ${accepted.join(' or ')}; it names ${namesOf(certificate)}`,
  );
  error.code = WRONG_NAME;
  return error;
}

function namesOf({ subject, subjectaltname }: PeerCertificate): string {
  const names = (subjectaltname ?? '')
    .split(', ')
    .filter((name) => name !== '')
    .map((name) => name.replace(/^(DNS|IP Address):/, ''));
  if (names.length === 0) return [subject?.CN ?? 'nobody'].flat().join(', ');
  return names.slice(0, NAMES_TOLD).join(', ') + (names.length > NAMES_TOLD ? ', ...' : '');
}

/** What a client tells a TLS server that it asks for; addresses are not told (RFC 6066, 3). */
export function serverName(host: string): string {
  return isIP(bare(host)) === 0 ? host : '';
}

/** Of a URL: an IPv6 address stands in brackets there. */
export const bare = (hostname: string): string => hostname.replace(/^\[(.*)\]$/, '$1');
