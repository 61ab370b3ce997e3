// SPDX-License-Identifier: Apache-2.0
/** When tokens and certificates end. */
import { afterEach, describe, expect, it } from 'vitest';
import { expiryWarnings, lifetimeOfToken } from '../../src/stores/hdfs/expiry.js';
import { Hostile } from '../support/hostile-hdfs.js';

const DAY = 24 * 3_600_000;
const ISSUED = Date.UTC(2026, 10, 1);

/** A long of Hadoop's: how many bytes follow, then these. */
function long(value: number): Buffer {
  const bytes = Buffer.from(value.toString(16).padStart(12, '0'), 'hex');
  return Buffer.concat([Buffer.from([-112 - bytes.length]), bytes]);
}

const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);

function token(days: number): string {
  const identifier = Buffer.concat([
    Buffer.from([0]),
    ...['pars', 'oozie', ''].map(text),
    ...[ISSUED, ISSUED + days * DAY].map(long),
    Buffer.from([5, 2]),
  ]);
  const rest = ['x'.repeat(20), 'WEBHDFS delegation', '127.0.0.1:9871'].map(text);
  return Buffer.concat([Buffer.from([identifier.length]), identifier, ...rest]).toString('base64url');
}

const warningsOf = (days: number, now: number): Promise<string[]> =>
  expiryWarnings({ nameNodes: [], token: async () => token(days) }, now);

describe('a delegation token', () => {
  it('says how long it can live', () => {
    expect(lifetimeOfToken(token(7))).toEqual({ begins: ISSUED, ends: ISSUED + 7 * DAY });
  });

  it.each(['', 'no token', token(7).slice(0, 20), Buffer.alloc(64, 0xff).toString('base64url')])(
    'that cannot be read (%j) says nothing',
    (broken) => {
      expect(lifetimeOfToken(broken)).toBeNull();
    },
  );

  it('is warned of when a third of its life is left, at most a week', async () => {
    expect(await warningsOf(7, ISSUED + 4 * DAY)).toEqual([]);
    expect(await warningsOf(7, ISSUED + 5 * DAY)).toEqual([
      expect.stringContaining('ends at 2026-11-08 00:00'),
    ]);
    expect(await warningsOf(7, ISSUED + 8 * DAY)).toEqual([expect.stringContaining('has ended at')]);
    expect(await warningsOf(90, ISSUED + 82 * DAY)).toEqual([]);
    expect(await warningsOf(90, ISSUED + 84 * DAY)).toHaveLength(1);
  });
});

describe('a certificate of ours', () => {
  const hostile = new Hostile();
  afterEach(() => hostile.stop());

  it('is warned of like it', async () => {
    const { cert, key } = hostile.certificate(['DNS:pars']);
    const options = { nameNodes: [], certificate: { cert, key } };
    expect(await expiryWarnings(options)).toEqual([]);
    expect(await expiryWarnings(options, Date.now() + 1.5 * DAY)).toEqual([
      expect.stringContaining('the client certificate ends at'),
    ]);
  });
});
