// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { cp, mkdir, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native } from '../../src/native.js';
import { LocalStore } from '../../src/stores/local/local-store.js';
import { type Files, nodeFiles } from '../../src/stores/local/files.js';
import { plainDisk } from '../support/disk-primitives.js';
import {
  copiesOf,
  diskFailure,
  failing,
  filesIn,
  flipByte,
  type LocalFixture,
  localFixture,
  PLACES,
} from '../support/local-store.js';
import { failure, put, sha256, storeContract } from './store.js';

storeContract('local:', () => localFixture(), PLACES);

const ADDON = 'build/Release/pars.node';
if (existsSync(ADDON))
  storeContract('local: with the addon', () => localFixture(nodeFiles, native()), PLACES);
else if (process.env['CI']) throw new Error(`${ADDON} is not built`);
else console.warn(`SKIPPED: the store with the addon, because ${ADDON} is not built`);

describe('a local store', () => {
  let fixture: LocalFixture;
  let store: LocalStore;
  let directories: string[];

  beforeEach(async () => {
    fixture = await localFixture();
    ({ store, directories } = fixture);
  });
  afterEach(() => fixture.dispose());

  describe('R20: proves what it holds', () => {
    it('finds a byte that changed on the disk, and names the copy', async () => {
      const object = await put(store, 'g/s/x', randomBytes(100_000), 3);
      const [, second = ''] = await copiesOf(directories, 'g/s/x');
      await flipByte(second, 77_777);
      expect((await failure(store.verify(object), 'corrupt')).message).toContain(directories[1]);
    });

    it('finds a short file', async () => {
      const object = await put(store, 'g/s/x', randomBytes(1000), 3);
      await truncate(join(directories[2]!, 'g/s/x'), 999);
      expect((await failure(store.verify(object), 'corrupt')).message).toContain(
        '999 bytes on the disk, 1000 were written',
      );
    });

    it('counts copies: one that is gone is not proven', async () => {
      const object = await put(store, 'g/s/x', randomBytes(1000), 3);
      await rm(join(directories[0]!, 'g/s/x'));
      expect((await failure(store.verify(object), 'missing')).message).toContain('2 of 3 copies are proven');
    });

    it('cannot prove a copy whose disk is gone', async () => {
      const object = await put(store, 'g/s/x', randomBytes(1000), 3);
      await rename(directories[0]!, `${directories[0]}-gone`);
      await failure(store.verify(object), 'unreachable');
    });

    it('reads past the page cache through the addon', async () => {
      const seen: number[] = [];
      const disk = {
        ...plainDisk,
        hashFileUncached: (fd: number) => (seen.push(fd), plainDisk.hashFileUncached(fd)),
      };
      const watched = LocalStore.fromPath(fixture.path, { disk });
      await watched.verify(await put(watched, 'g/s/x', randomBytes(10), 3));
      expect(seen).toHaveLength(3);
    });
  });

  describe('R21: critical means all of it', () => {
    it('puts every copy in another directory', async () => {
      await put(store, 'g/s/manifest.json', Buffer.from('{}'), 3);
      expect(await copiesOf(directories, 'g/s/manifest.json')).toHaveLength(3);
    });

    it('spreads single copies over the directories, the same way every time', async () => {
      for (let i = 0; i < 60; i++) await put(store, `g/s/clean-cache.${i}`, Buffer.from('x'), 1);
      const counts = await Promise.all(
        directories.map(async (directory) => (await readdir(join(directory, 'g/s'))).length),
      );
      expect(Math.min(...counts)).toBeGreaterThanOrEqual(10);
      const [before = ''] = await copiesOf(directories, 'g/s/clean-cache.7');
      await store.remove('g/s/clean-cache.7');
      await put(fixture.reopen(), 'g/s/clean-cache.7', Buffer.from('x'), 1);
      expect(await copiesOf(directories, 'g/s/clean-cache.7')).toEqual([before]);
    });

    it('leaves the old copies where a newer object cannot be renamed on every disk', async () => {
      const [old, young] = [Buffer.from('old'), Buffer.from('new')];
      await put(store, 'g/s/manifest.json', old, 3);
      const files = failing({
        rename: (from, to) =>
          String(to).startsWith(directories[1]!)
            ? Promise.reject(diskFailure('EIO'))
            : nodeFiles.rename(from, to),
      });
      await failure(
        put(LocalStore.fromPath(fixture.path, { files, disk: plainDisk }), 'g/s/manifest.json', young, 3),
        'unreachable',
      );
      const found = await Promise.all(
        (await copiesOf(directories, 'g/s/manifest.json')).map((path) => readFile(path)),
      );
      expect(found).toEqual([young, old, young]);
      expect((await filesIn(directories)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    });

    it('syncs files before they are renamed, and directories after', async () => {
      const steps: string[] = [];
      const files = failing({
        open: async (...args: Parameters<Files['open']>) => {
          const handle = await nodeFiles.open(...args);
          const sync = handle.sync.bind(handle);
          const what = args[1] === 'wx' ? 'sync file' : 'sync directory';
          handle.sync = () => (steps.push(what), sync());
          return handle;
        },
        rename: (...args: Parameters<Files['rename']>) => (steps.push('rename'), nodeFiles.rename(...args)),
      });
      await put(LocalStore.fromPath(fixture.path, { files, disk: plainDisk }), 'g/s/x', Buffer.from('x'), 1);
      expect(steps).toEqual(['sync file', 'rename', 'sync directory', 'sync directory', 'sync directory']);
    });
  });

  describe('R22: only marked directories', () => {
    it('does not write into the mount point of a disk that is not mounted', async () => {
      await rename(directories[1]!, `${directories[1]}-unmounted`);
      await mkdir(directories[1]!);
      const error = await failure(store.create('g/s/x', { copies: 3, critical: true }), 'unreachable');
      expect(error.message).toContain(`${directories[1]}: no pars-store.json`);
      expect(error.hint).toContain('pars store init');
      await put(store, 'g/s/x', Buffer.from('x'), 2);
      await store.createExclusive('g/s/state', Buffer.from('x'), { copies: 2 });
      expect(await readdir(directories[1]!)).toEqual([]);
      expect(await store.status()).toMatchObject({ usablePlaces: 2, places: 3 });
    });

    it('reads from the other directories meanwhile; when none has it, it is unreachable', async () => {
      const data = randomBytes(100);
      await put(store, 'g/s/x', data, 3);
      await rename(directories[1]!, `${directories[1]}-unmounted`);
      expect(await store.readRange('g/s/x', 0, 100, sha256(data))).toEqual(data);
      const error = await failure(store.readRange('g/s/y', 0, 100, sha256(data)), 'unreachable');
      for (const directory of directories) expect(error.message).toContain(directory);
    });

    it('is unreachable with all disks gone, and whole again when they are back', async () => {
      const data = randomBytes(100);
      await put(store, 'g/s/x', data, 3);
      for (const directory of directories) await rename(directory, `${directory}-gone`);
      await failure(store.status(), 'unreachable');
      await failure(store.list(''), 'unreachable');
      await failure(
        store.readWhole('g/s/x', () => true),
        'unreachable',
      );
      await failure(store.readRange('g/s/x', 0, 100, sha256(data)), 'unreachable');
      for (const directory of directories) await rename(`${directory}-gone`, directory);
      expect(await store.readRange('g/s/x', 0, 100, sha256(data))).toEqual(data);
    });

    it('leaves the disk of another store alone', async () => {
      const other = await localFixture();
      await rm(directories[2]!, { recursive: true });
      await cp(other.directories[2]!, directories[2]!, { recursive: true });
      expect((await store.status()).warnings.join()).toContain('belongs to another store');
      await put(store, 'g/s/x', Buffer.from('x'), 2);
      expect(await filesIn([directories[2]!])).toEqual([]);
      await other.dispose();
    });

    it('does not count one disk twice', async () => {
      await rm(directories[2]!, { recursive: true });
      await cp(directories[1]!, directories[2]!, { recursive: true });
      expect((await store.status()).usablePlaces).toBe(2);
      await failure(store.create('g/s/x', { copies: 3, critical: true }), 'unreachable');
    });

    it('takes a damaged marker, or one of a later format, for none', async () => {
      await writeFile(join(directories[0]!, 'pars-store.json'), '{"format":');
      const marker = JSON.parse(await readFile(join(directories[1]!, 'pars-store.json'), 'utf8')) as object;
      await writeFile(join(directories[1]!, 'pars-store.json'), JSON.stringify({ ...marker, format: 2 }));
      const { usablePlaces, warnings } = await store.status();
      expect(usablePlaces).toBe(1);
      expect(warnings.join()).toMatch(/damaged[^]*format 2/);
    });

    it('says what it removed and what may come back with a disk', async () => {
      await put(store, 'g/s/x', Buffer.from('x'), 3);
      await rename(directories[0]!, `${directories[0]}-gone`);
      expect((await failure(store.remove('g/s'), 'unreachable')).message).toContain(directories[0]);
      expect(await store.list('')).toEqual([]);
    });
  });

  describe('R23: names', () => {
    it('leaves nothing of a fragment behind when its prefix is removed', async () => {
      const writer = await store.create('g/s/x', { copies: 3, critical: true });
      await writer.write(randomBytes(1000));
      await store.remove('g/s');
      expect(await filesIn(directories)).toEqual([]);
      await failure(writer.close(), 'unreachable');
      expect(await filesIn(directories)).toEqual([]);
    });
  });

  describe('R24: nobody else reads it', () => {
    it('makes files 0600 and directories 0700', async () => {
      await put(store, 'g/s/x', Buffer.from('x'), 3);
      await store.createExclusive('g/s/state', Buffer.from('x'), { copies: 2 });
      for (const directory of directories) {
        for (const name of ['', 'g', 'g/s'])
          expect((await stat(join(directory, name))).mode & 0o777).toBe(0o700);
        for (const name of ['pars-store.json', 'g/s/x', 'g/s/state'])
          expect((await stat(join(directory, name))).mode & 0o777).toBe(0o600);
      }
    });
  });

  describe('R22: when a disk is unmounted between the look at its marker and the first write', () => {
    /** The mount point stays, empty. */
    function unmounting(directory: string): Files {
      let mounted = true;
      return failing({
        mkdir: (async (...args: Parameters<Files['mkdir']>) => {
          if (mounted && String(args[0]).startsWith(directory)) {
            mounted = false;
            await rename(directory, `${directory}.away`);
            await mkdir(directory);
          }
          return nodeFiles.mkdir(...args);
        }) as Files['mkdir'],
      });
    }

    it('a claim is made on the others, and nothing stays in its mount point', async () => {
      const files = unmounting(directories[1]!);
      expect(
        await LocalStore.fromPath(fixture.path, { files, disk: plainDisk }).createExclusive(
          'g/s/x',
          Buffer.from('x'),
          { copies: 1 },
        ),
      ).toBe(true);
      expect(await readdir(directories[1]!)).toEqual([]);
      expect(await copiesOf(directories, 'g/s/x')).toHaveLength(2);
    });

    it('an object is not written at all, and nothing stays of it', async () => {
      const files = unmounting(directories[1]!);
      await failure(
        put(LocalStore.fromPath(fixture.path, { files, disk: plainDisk }), 'g/s/x', randomBytes(1000), 3),
        'unreachable',
      );
      expect(await readdir(directories[1]!)).toEqual([]);
      expect(await copiesOf(directories, 'g/s/x')).toEqual([]);
    });
  });

  describe('when a disk fails', () => {
    it.each(['ENOSPC', 'EDQUOT'])('says no-space at %s and leaves nothing behind', async (code) => {
      let written = 0;
      const files = failing({
        open: async (...args: Parameters<Files['open']>) => {
          const handle = await nodeFiles.open(...args);
          if (!String(args[0]).startsWith(directories[1]!) || args[1] !== 'wx') return handle;
          const writev = handle.writev.bind(handle);
          handle.writev = (buffers, position) =>
            written++ > 0 ? Promise.reject(diskFailure(code)) : writev(buffers, position);
          return handle;
        },
      });
      const full = LocalStore.fromPath(fixture.path, { files, disk: plainDisk });
      await failure(put(full, 'g/s/x', randomBytes(200_000), 3, 10_000), 'no-space');
      expect(await filesIn(directories)).toEqual([]);
    });

    it.each(['rename', 'link'] as const)(
      'takes back what it published when %s fails on one disk',
      async (step) => {
        const files = failing({
          [step]: async (from: string, to: string) => {
            if (to.startsWith(directories[2]!)) throw diskFailure('EIO');
            return nodeFiles[step](from, to);
          },
        });
        const ill = LocalStore.fromPath(fixture.path, { files, disk: plainDisk });
        await failure(
          step === 'rename'
            ? put(ill, 'g/s/x', Buffer.from('x'), 3)
            : ill.createExclusive('g/s/x', Buffer.from('x'), { copies: 3 }),
          'unreachable',
        );
        expect(await filesIn(directories)).toEqual([]);
      },
    );

    it('does not call a copy corrupt that it could not see', async () => {
      const data = randomBytes(100);
      await put(store, 'g/s/x', data, 3);
      const files = failing({
        open: async (...args: Parameters<Files['open']>) => {
          const handle = await nodeFiles.open(...args);
          if (String(args[0]).endsWith('/x')) handle.read = () => Promise.reject(diskFailure('EIO'));
          return handle;
        },
      });
      const ill = LocalStore.fromPath(fixture.path, { files, disk: plainDisk });
      await failure(ill.readRange('g/s/x', 0, 100, sha256(data)), 'unreachable');
    });

    it('names every copy it tried and what was wrong with it', async () => {
      const data = randomBytes(100);
      await put(store, 'g/s/x', data, 3);
      await flipByte(join(directories[0]!, 'g/s/x'));
      await truncate(join(directories[1]!, 'g/s/x'), 50);
      await rm(join(directories[2]!, 'g/s/x'));
      const { message } = await failure(store.readRange('g/s/x', 0, 100, sha256(data)), 'corrupt');
      expect(message).toContain(`${directories[0]}: bytes 0 to 100 do not match their digest`);
      expect(message).toContain(`${directories[1]}: too short (50 bytes, 100 needed)`);
      expect(message).toContain(`${directories[2]}: missing`);
    });

    it('takes disks that do not say their room for missing places', async () => {
      const hiding = (hidden: readonly string[]): LocalStore => {
        const files = failing({
          statfs: ((...args: Parameters<Files['statfs']>) =>
            hidden.includes(String(args[0]))
              ? Promise.reject(diskFailure('ESTALE'))
              : nodeFiles.statfs(...args)) as Files['statfs'],
        });
        return LocalStore.fromPath(fixture.path, { files, disk: plainDisk });
      };
      const status = await hiding([directories[2]!]).status();
      expect(status).toMatchObject({ usablePlaces: 2, places: 3 });
      expect(status.freeBytes).toBeGreaterThan(0);
      expect(status.warnings.join()).toContain(`${directories[2]} cannot be used: `);
      const error = await failure(hiding(directories).status(), 'unreachable');
      for (const directory of directories) expect(error.message).toContain(directory);
    });

    it('does not take memory for a length that cannot be', async () => {
      await put(store, 'g/s/x', Buffer.from('x'), 3);
      await failure(store.readRange('g/s/x', 0, 2 ** 45, sha256(Buffer.alloc(0))), 'corrupt');
    });
  });

  it('shows nothing of an upload that was killed', async () => {
    const script = `
      import { LocalStore } from ${JSON.stringify(join(process.cwd(), 'src/stores/local/local-store.ts'))};
      import { plainDisk } from ${JSON.stringify(join(process.cwd(), 'test/support/disk-primitives.ts'))};
      const store = LocalStore.fromPath(${JSON.stringify(fixture.path)}, { disk: plainDisk });
      const writer = await store.create('g/s/x', { copies: 3, critical: true });
      for (;;) {
        await writer.write(Buffer.alloc(1 << 20, 1));
        console.log('more');
        await new Promise((r) => setTimeout(r, 5));
      }`;
    const file = join(fixture.root, 'upload.ts');
    await writeFile(file, script);
    const child = spawn(process.execPath, ['node_modules/.bin/vite-node', file], {
      stdio: ['ignore', 'pipe', 'inherit'],
      cwd: process.cwd(),
    });
    await once(child.stdout, 'data');
    await sleep(50);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect((await filesIn(directories)).some((name) => name.endsWith('.tmp'))).toBe(true);
    expect(await store.list('g/s')).toEqual([]);
    await store.remove('g/s');
    expect(await filesIn(directories)).toEqual([]);
  });

  it('stops when it is told to', async () => {
    const controller = new AbortController();
    const stopping = LocalStore.fromPath(fixture.path, { disk: plainDisk, signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(stopping.create('g/s/x', { copies: 1, critical: false })).rejects.toThrow('enough');
    await expect(stopping.readRange('g/s/x', 0, 1, sha256(Buffer.alloc(1)))).rejects.toThrow('enough');
  });
});
