// SPDX-License-Identifier: Apache-2.0
/** When what we log in with ends: said before it does. */
import { X509Certificate } from 'node:crypto';
import type { WebHdfsOptions } from '../../webhdfs/index.js';

interface Lifetime {
  what: string;
  begins: number;
  /** Milliseconds since 1970, like `begins`. */
  ends: number;
}

const DAY = 24 * 3_600_000;
const WEEK = 7 * DAY;

/**
 * A week ahead, and of what is valid for less than three weeks when a third of its lifetime is left: a token
 * that a job replaces every day is not worth a word.
 */
export async function expiryWarnings(options: WebHdfsOptions, now = Date.now()): Promise<string[]> {
  const lives: Lifetime[] = [];
  if (options.certificate) {
    const { validFrom, validTo } = new X509Certificate(options.certificate.cert);
    lives.push({ what: 'the client certificate', begins: Date.parse(validFrom), ends: Date.parse(validTo) });
  }
  const token = options.token && lifetimeOfToken(await options.token());
  if (token) lives.push({ what: 'the delegation token', ...token });
  return lives.filter((one) => one.ends - now < Math.min(WEEK, (one.ends - one.begins) / 3)).map(said(now));
}

const said =
  (now: number) =>
  ({ what, ends }: Lifetime): string => {
    const at = new Date(ends).toISOString().slice(0, 16).replace('T', ' ');
    return ends <= now
      ? `${what} has ended at ${at} UTC: nothing can be stored or resumed until it is replaced`
      : `${what} ends at ${at} UTC: replace it before, or nothing can be stored or resumed`;
  };

/**
 * The longest that a delegation token can live, as it says itself (Token and
 * AbstractDelegationTokenIdentifier of Hadoop: identifier; in it version 0, owner, renewer, real user,
 * issue date, maximum date). Null for a token of another kind: what cannot be read says nothing. A token
 * that nobody renews ends before, by default after a day.
 */
export function lifetimeOfToken(text: string): Pick<Lifetime, 'begins' | 'ends'> | null {
  const outer = new WritableBytes(Buffer.from(text, 'base64url'));
  const identifier = new WritableBytes(outer.bytes());
  if (identifier.byte() !== 0) return null;
  for (let name = 0; name < 3; name++) identifier.bytes();
  const [begins, ends] = [identifier.number(), identifier.number()];
  const isSound = !identifier.isShort && begins > 0 && ends > begins && ends < 8.64e15;
  return isSound ? { begins, ends } : null;
}

/** What Hadoop's WritableUtils writes. Reading past the end gives nothing, and is remembered. */
class WritableBytes {
  readonly #data: Buffer;
  #at = 0;
  isShort = false;

  constructor(data: Buffer) {
    this.#data = data;
  }

  byte(): number {
    this.isShort ||= this.#at >= this.#data.length;
    return this.isShort ? -1 : this.#data.readInt8(this.#at++);
  }

  /** Small ones are one byte; others say in the first how many follow, and whether they are negated. */
  number(): number {
    const first = this.byte();
    if (first >= -112) return first;
    const isNegative = first < -120;
    let value = 0;
    for (let left = isNegative ? -120 - first : -112 - first; left > 0; left--)
      value = value * 256 + (this.byte() & 0xff);
    return isNegative ? -1 - value : value;
  }

  bytes(): Buffer {
    const length = this.number();
    this.isShort ||= length < 0 || this.#at + length > this.#data.length;
    if (this.isShort) return Buffer.alloc(0);
    this.#at += length;
    return this.#data.subarray(this.#at - length, this.#at);
  }
}
