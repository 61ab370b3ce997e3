// SPDX-License-Identifier: Apache-2.0
/** What every store must do. Run by each store's own test file. */
import { createHash, randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ParsError, type ErrorKind } from '../../src/errors.js';
import type { Store, StoredObject } from '../../src/stores/store.js';

/** How long copies are waited for that a store makes by itself. */
const COPIES_WAIT_MS = 60_000;

/** A store made for one test. */
export interface StoreFixture {
  store: Store;
  /** A second view of the same store, as another process has it. */
  reopen(): Store;
  /**
   * Spoils one copy of an object on its medium; false when the object has no more good copies. Where the
   * medium makes copies by itself the second call spoils all that are left.
   */
  corruptOneCopy(name: string): Promise<boolean>;
  dispose(): Promise<void>;
}

export function sha256(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

/** The error that `work` throws, which must be of that kind. */
export async function failure(work: Promise<unknown>, kind: ErrorKind): Promise<ParsError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(ParsError);
  expect((error as ParsError).kind).toBe(kind);
  return error as ParsError;
}

export async function put(
  store: Store,
  name: string,
  data: Buffer,
  copies = 2,
  chunk = 64 << 10,
): Promise<StoredObject> {
  const writer = await store.create(name, { copies, critical: true });
  for (let at = 0; at < data.length; at += chunk) await writer.write(data.subarray(at, at + chunk));
  return writer.close();
}

/** The suite. `places`: how many copies the fixture's store can hold. */
export function storeContract(label: string, open: () => Promise<StoreFixture>, places: number): void {
  describe(`${label} keeps the contract of stores`, () => {
    let fixture: StoreFixture;
    let store: Store;

    beforeEach(async () => {
      fixture = await open();
      store = fixture.store;
    });
    afterEach(async () => {
      await store.close();
      await fixture.dispose();
    });

    it('says what it is', async () => {
      const status = await store.status();
      expect(status).toMatchObject({ url: store.url, usablePlaces: places, places });
      expect(status.storeId).not.toBe('');
      expect((await fixture.reopen().status()).storeId).toBe(status.storeId);
    });

    it('gives back ranges of what was written', async () => {
      const data = randomBytes(300_000);
      const object = await put(store, 'g/s/pack.0', data);
      expect(object).toMatchObject({ name: 'g/s/pack.0', bytes: data.length, copies: 2 });
      const range = data.subarray(1000, 250_000);
      expect(await fixture.reopen().readRange('g/s/pack.0', 1000, range.length, sha256(range))).toEqual(
        range,
      );
      await store.verify(object);
    });

    it('gives back ranges of which some are left out, and others come too late', async () => {
      const data = randomBytes(12 << 20);
      await put(store, 'g/s/pack.0', data);
      const reopened = fixture.reopen();
      const ranges: [from: number, to: number][] = [
        [0, 1000],
        [5000, 90_000],
        [200_000, 3_000_000],
        [3_000_000, 3_000_001],
        [9_000_000, 12_000_000],
        [100_000, 100_100],
        [100_050, 700_000],
      ];
      for (const [from, to] of ranges) {
        const range = data.subarray(from, to);
        expect(
          range.equals(await reopened.readRange('g/s/pack.0', from, range.length, sha256(range))),
          `${from} to ${to}`,
        ).toBe(true);
      }
      await reopened.close();
    });

    it('takes more than it holds in memory, in pieces of any size', async () => {
      const data = randomBytes(40 << 20);
      const object = await put(store, 'g/s/large', data, places, 3_333_333);
      await store.verify(object);
      expect(sha256(await store.readRange('g/s/large', 0, data.length, sha256(data)))).toBe(sha256(data));
    });

    it('keeps empty objects', async () => {
      const object = await put(store, 'g/s/empty', Buffer.alloc(0));
      expect(object.bytes).toBe(0);
      await store.verify(object);
      expect(await store.readWhole('g/s/empty', () => true)).toHaveLength(0);
    });

    it('shows nothing before close, and nothing after abort', async () => {
      const writer = await store.create('g/s/pack.0', { copies: 2, critical: false });
      await writer.write(randomBytes(1000));
      expect(await store.list('g/s')).toEqual([]);
      await writer.abort();
      await writer.abort();
      expect(await store.list('g/s')).toEqual([]);
      expect(await store.list('')).toEqual([]);
    });

    it('lists names and prefixes, sorted, one level deep', async () => {
      for (const name of ['b/two/x', 'a/one/y', 'a/one/x', 'c']) await put(store, name, Buffer.from(name), 1);
      expect(await store.list('')).toEqual(['a', 'b', 'c']);
      expect(await store.list('a')).toEqual(['one']);
      expect(await store.list('a/one')).toEqual(['x', 'y']);
      expect(await store.list('none')).toEqual([]);
    });

    it('tells missing from corrupt', async () => {
      const data = randomBytes(1000);
      await put(store, 'g/s/x', data);
      await failure(store.readRange('g/s/y', 0, 1000, sha256(data)), 'missing');
      await failure(
        store.readWhole('g/s/y', () => true),
        'missing',
      );
      await failure(store.readRange('g/s/x', 0, 1001, sha256(data)), 'corrupt');
      await failure(store.readRange('g/s/x', 0, 1000, sha256(Buffer.alloc(1))), 'corrupt');
      await failure(
        store.readWhole('g/s/x', () => false),
        'corrupt',
      );
    });

    it('falls over to a good copy, and is corrupt only when none is left', async () => {
      const data = randomBytes(5000);
      const object = await put(store, 'g/s/x', data, 2);
      expect(await fixture.corruptOneCopy('g/s/x')).toBe(true);
      await failure(fixture.reopen().verify(object), 'corrupt');
      expect(await store.readRange('g/s/x', 0, 5000, sha256(data))).toEqual(data);
      expect(await store.readWhole('g/s/x', (copy) => copy.equals(data))).toEqual(data);
      expect(await fixture.corruptOneCopy('g/s/x')).toBe(true);
      await failure(store.readRange('g/s/x', 0, 5000, sha256(data)), 'corrupt');
      await failure(
        store.readWhole('g/s/x', (copy) => copy.equals(data)),
        'corrupt',
      );
    });

    it('looks at copies without throwing, and mends them from a good one', async () => {
      const data = randomBytes(5000);
      const object = await put(store, 'g/s/x', data, 2);
      expect(await store.inspect(object, { read: true })).toMatchObject({ good: 2, wanted: 2 });
      expect(await fixture.corruptOneCopy('g/s/x')).toBe(true);
      expect(await store.inspect(object, { read: false })).toMatchObject({ good: 2 });
      const found = await store.inspect(object, { read: true });
      expect(found.good).toBe(1);
      expect(found.faults.map(({ fault }) => fault)).toContain('corrupt');
      await store.replicate(object, { waitMs: COPIES_WAIT_MS });
      await store.verify(object);
      await store.replicate({ ...object, copies: places }, { waitMs: COPIES_WAIT_MS });
      expect(
        (await failure(store.replicate({ ...object, copies: places + 1 }, { waitMs: 500 }), 'missing'))
          .message,
      ).toContain(`${places} of ${places + 1} copies`);
      await store.verify({ ...object, copies: places });
      expect(await store.inspect({ ...object, name: 'g/s/y' }, { read: true })).toMatchObject({ good: 0 });
      await failure(store.replicate({ ...object, name: 'g/s/y' }, { waitMs: 0 }), 'missing');
    });

    it('ranks what it may choose from', async () => {
      await put(store, 'g/s/x', Buffer.from('1'), 2);
      expect((await store.readWhole('g/s/x', () => true, Number)).toString()).toBe('1');
      await put(store, 'g/s/x', Buffer.from('2'), 2);
      expect(
        (await store.readWhole('g/s/x', () => true, Number)).toString(),
        'what is written again is replaced',
      ).toBe('2');
    });

    it('does not prove what is not there, or is there too seldom', async () => {
      const object = await put(store, 'g/s/x', randomBytes(100), 1);
      await failure(store.verify({ ...object, copies: 2 }), 'missing');
      await failure(store.verify({ ...object, name: 'g/s/y' }), 'missing');
      await failure(store.verify({ ...object, bytes: 99 }), 'corrupt');
    });

    it('refuses more copies than it has places', async () => {
      await failure(store.create('g/s/x', { copies: places + 1, critical: true }), 'unreachable');
      await failure(store.createExclusive('g/s/x', Buffer.from('x'), { copies: places + 1 }), 'unreachable');
      expect(await store.list('')).toEqual([]);
    });

    it('creates exclusively: once, whoever comes first', async () => {
      const claims = await Promise.all(
        Array.from({ length: 12 }, (_, i) =>
          fixture.reopen().createExclusive('g/s/state-x', Buffer.from(`claim ${i}`), { copies: 2 }),
        ),
      );
      expect(claims.filter(Boolean)).toHaveLength(1);
      const winner = claims.indexOf(true);
      expect((await store.readWhole('g/s/state-x', () => true)).toString()).toBe(`claim ${winner}`);
      expect(await store.createExclusive('g/s/state-x', Buffer.from('late'), { copies: 2 })).toBe(false);
      expect(await store.list('g/s')).toEqual(['state-x']);
    });

    it('removes objects and everything below a prefix; what is missing is fine', async () => {
      for (const name of ['g/s/x', 'g/s/y', 'g/t/x']) await put(store, name, Buffer.from(name));
      await store.remove('g/s/x');
      expect(await store.list('g/s')).toEqual(['y']);
      await store.remove('g/s');
      await store.remove('g/s');
      expect(await store.list('g')).toEqual(['t']);
      await store.remove('g/t/x');
      expect(await store.list('')).toEqual([]);
    });

    it.each([
      '../x',
      'a/../x',
      '/x',
      'a//x',
      '',
      '.',
      '.hidden',
      'a/.x',
      '-a',
      "-a b;$(x)'é",
      'a b',
      'x'.repeat(200),
      'a\0b',
    ])('never makes a path of %j (R23)', async (name) => {
      await failure(store.create(name, { copies: 1, critical: false }), 'internal');
      await failure(store.createExclusive(name, Buffer.alloc(1), { copies: 1 }), 'internal');
      await failure(store.readRange(name, 0, 1, sha256(Buffer.alloc(1))), 'internal');
      await failure(store.remove(name), 'internal');
    });

    it('ends a writer for good', async () => {
      const writer = await store.create('g/s/x', { copies: 1, critical: false });
      await writer.write(Buffer.from('x'));
      await writer.close();
      await expect(writer.write(Buffer.from('y'))).rejects.toThrow();
      await expect(writer.close()).rejects.toThrow();
      await writer.abort();
      expect(await store.list('g/s')).toEqual(['x']);
    });
  });
}
