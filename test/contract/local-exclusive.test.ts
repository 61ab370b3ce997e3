// SPDX-License-Identifier: Apache-2.0
/** What is created once, on every disk that takes it: by hosts with other disks, and on disks that fail. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LocalStore } from '../../src/stores/local/local-store.js';
import { type Files, nodeFiles } from '../../src/stores/local/files.js';
import { MARKER_FILE } from '../../src/stores/marker.js';
import { plainDisk } from '../support/disk-primitives.js';
import {
  copiesOf,
  diskFailure,
  failing,
  filesIn,
  type LocalFixture,
  localFixture,
} from '../support/local-store.js';
import { failure } from './store.js';

const NAME = 'g/s/state-waking';
let fixture: LocalFixture;
let directories: string[];

beforeEach(async () => {
  fixture = await localFixture();
  ({ directories } = fixture);
});
afterEach(() => fixture.dispose());

const storeOn = (files: Partial<Files>, path = fixture.path): LocalStore =>
  LocalStore.fromPath(path, { files: failing(files), disk: plainDisk });

const claim = (store: LocalStore, by: string, copies = 1): Promise<boolean> =>
  store.createExclusive(NAME, Buffer.from(by), { copies });

const contents = async (): Promise<string[]> =>
  Promise.all((await copiesOf(directories, NAME)).map((path) => readFile(path, 'utf8')));

describe('between hosts that see other disks', () => {
  /**
   * A host with only the disks of these numbers mounted, which its URL names in this order. Before its nth
   * link, or each, it waits for `meanwhile`.
   */
  function host(
    disks: string,
    nth: number | 'each' = 0,
    meanwhile = async (): Promise<unknown> => null,
  ): LocalStore {
    const away = directories.filter((_, i) => !disks.includes(String(i + 1)));
    let links = 0;
    const named = [...disks].map((digit) => directories[Number(digit) - 1]);
    return storeOn(
      {
        readFile: ((...args: Parameters<Files['readFile']>) =>
          away.some((directory) => args[0] === join(directory, MARKER_FILE))
            ? Promise.reject(diskFailure('ENOENT'))
            : nodeFiles.readFile(...args)) as Files['readFile'],
        link: async (from, to) => {
          if (nth === 'each' || ++links === nth) await meanwhile();
          return nodeFiles.link(from, to);
        },
      },
      [...named, ...away].join(','),
    );
  }

  it.each([
    ['123', '23'],
    ['23', '123'],
    ['12', '23'],
    ['23', '12'],
    ['123', '3'],
    ['3', '123'],
    ['123', '321'],
    ['321', '123'],
  ])('%s and %s, one comes between any two steps of the other: one wins, and is seen', async (one, other) => {
    for (let nth = 1; nth <= one.length; nth++) {
      let second = false;
      const first = await claim(
        host(one, nth, async () => (second = await claim(host(other), 'other'))),
        'one',
      );
      expect([first, second].filter(Boolean), `before link ${nth}`).toHaveLength(1);
      const wanted = first ? one : other;
      expect(await contents()).toEqual(Array(wanted.length).fill(first ? 'one' : 'other'));
      expect((await filesIn(directories)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
      await fixture.store.remove('g');
    }
  });

  it.each([
    ['12', '23', '13'],
    ['13', '12', '23'],
    ['23', '13', '12'],
    ['123', '12', '2'],
    ['3', '23', '123'],
  ])('three of them (%s, %s, %s): one wins', async (...disks) => {
    for (let i = 1; i <= disks[0].length; i++) {
      for (let j = 1; j <= disks[1].length; j++) {
        const won: boolean[] = [];
        const third = async (): Promise<unknown> => won.push(await claim(host(disks[2]), 'third'));
        const second = async (): Promise<unknown> =>
          won.push(await claim(host(disks[1], j, third), 'second'));
        won.push(await claim(host(disks[0], i, second), 'first'));
        expect(won.filter(Boolean), `before links ${i} and ${j}`).toHaveLength(1);
        await fixture.store.remove('g');
      }
    }
  });

  it.each(
    [
      ['12', '21'],
      ['123', '321', '231'],
      ['12', '23', '13'],
      ['123', '123', '123'],
    ].map((disks) => ({ disks })),
  )('in step ($disks): one wins', async ({ disks }) => {
    let running = disks.length;
    const waiting: (() => void)[] = [];
    const next = (): void => {
      if (waiting.length < running) return;
      for (const go of waiting.splice(0)) go();
    };
    const step = (): Promise<void> =>
      new Promise((go) => {
        waiting.push(go);
        next();
      });
    const run = async (which: string, i: number): Promise<boolean> => {
      const won = await claim(host(which, 'each', step), `host ${i}`);
      running--;
      next();
      return won;
    };
    const won = await Promise.all(disks.map(run));
    expect(won.filter(Boolean)).toHaveLength(1);
    const winner = won.indexOf(true);
    expect(await contents()).toEqual(Array(disks[winner]!.length).fill(`host ${winner}`));
  });

  it('one that was killed half-way is seen, and not taken over by another', async () => {
    const path = join(directories[0]!, NAME);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, 'killed');
    expect(await claim(fixture.store, 'other')).toBe(false);
    expect(await contents()).toEqual(['killed']);
  });
});

describe('when a disk takes nothing', () => {
  const CODES = ['EROFS', 'ENOSPC', 'EIO'];

  /** Nothing can be written to the disks of these numbers. */
  function without(disks: string, code: string, files: Partial<Files> = {}): LocalStore {
    const refuse = (path: unknown): void => {
      if (directories.some((root, i) => disks.includes(String(i + 1)) && String(path).startsWith(root)))
        throw diskFailure(code);
    };
    return storeOn({
      mkdir: (async (...args: Parameters<Files['mkdir']>) => {
        refuse(args[0]);
        return nodeFiles.mkdir(...args);
      }) as Files['mkdir'],
      ...files,
    });
  }

  it.each(CODES)('%s: the others are enough, if they are as many as asked for', async (code) => {
    expect(await claim(without('2', code), 'mine', 2)).toBe(true);
    expect(await copiesOf(directories, NAME)).toEqual(
      [directories[0], directories[2]].map((root) => join(root!, NAME)),
    );
    expect(await filesIn([directories[1]!])).toEqual([]);
  });

  it.each(CODES)('%s: says so, and leaves nothing, if they are too few', async (code) => {
    const error = await failure(
      claim(without('2', code), 'mine', 3),
      code === 'ENOSPC' ? 'no-space' : 'unreachable',
    );
    expect(error.message).toContain(directories[1]);
    expect(error.hint).toMatch(/that disk/);
    expect(await filesIn(directories)).toEqual([]);
  });

  const fails = (path: unknown): boolean => String(path).startsWith(directories[1]!);
  it.each<[string, Partial<Files>]>([
    [
      'link',
      { link: (from, to) => (fails(to) ? Promise.reject(diskFailure('EIO')) : nodeFiles.link(from, to)) },
    ],
    [
      'sync of its directory',
      {
        open: (...args) =>
          fails(args[0]) && args[1] === 'r' ? Promise.reject(diskFailure('EIO')) : nodeFiles.open(...args),
      },
    ],
  ])('its %s fails when another has a copy already', async (_, files) => {
    expect(await claim(storeOn(files), 'mine', 2)).toBe(true);
    expect(await copiesOf(directories, NAME)).toHaveLength(2);
    await fixture.store.remove('g');
    await failure(claim(storeOn(files), 'mine', 3), 'unreachable');
    expect(await filesIn(directories)).toEqual([]);
  });

  it('a claim that another host makes there meanwhile is seen', async () => {
    const other = async (): Promise<boolean> => claim(storeOn({}, directories[1]), 'other');
    let outcome: Promise<boolean> | undefined;
    const mine = without('2', 'EROFS', {
      link: async (from, to) => {
        expect(await (outcome ??= other())).toBe(true);
        return nodeFiles.link(from, to);
      },
    });
    expect(await claim(mine, 'mine')).toBe(false);
    expect(await contents()).toEqual(['other']);
  });

  it('nor is an error said when another host has it by then', async () => {
    const mine = without('123', 'EROFS', {
      mkdir: async (path: unknown) => {
        if (String(path).startsWith(directories[0]!)) await claim(fixture.store, 'other');
        throw diskFailure('EROFS');
      },
    });
    expect(await claim(mine, 'mine')).toBe(false);
  });

  it('what is no fault of a disk is not passed over', async () => {
    const broken = storeOn({
      link: async (from, to) => {
        if (fails(to)) throw new TypeError('a defect');
        return nodeFiles.link(from, to);
      },
    });
    await failure(claim(broken, 'mine'), 'internal');
    expect(await filesIn(directories)).toEqual([]);
  });
});

it('is not won either where the own copy cannot be taken back', async () => {
  const other = storeOn({}, directories.slice(1).join(','));
  let outcome: Promise<boolean> | undefined;
  const stuck = storeOn({
    link: async (from, to) => {
      await (outcome ??= claim(other, 'other'));
      return nodeFiles.link(from, to);
    },
    unlink: (path) =>
      path === join(directories[0]!, NAME) ? Promise.reject(diskFailure('EIO')) : nodeFiles.unlink(path),
  });
  expect(await claim(stuck, 'mine')).toBe(false);
  expect(await outcome).toBe(true);
  expect(await contents()).toEqual(['mine', 'other', 'other']);
});
