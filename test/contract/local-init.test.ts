// SPDX-License-Identifier: Apache-2.0
import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LocalStore } from '../../src/stores/local/local-store.js';
import { type Files, nodeFiles } from '../../src/stores/local/files.js';
import { initLocalStore } from '../../src/stores/local/init.js';
import { plainDisk } from '../support/disk-primitives.js';
import { diskFailure, failing } from '../support/local-store.js';
import { failure } from './store.js';

describe('pars store init (R22)', () => {
  let root: string;
  let directories: string[];
  let path: string;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'pars-init-'));
    directories = [1, 2, 3].map((i) => join(root, `d${i}`));
    path = directories.join(',');
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  it('refuses two directories on one device, and creates nothing', async () => {
    const error = await failure(initLocalStore(path), 'refused');
    expect(error.hint).toContain('--allow-same-device');
    expect(await readdir(root)).toEqual([]);
  });

  it('records that it was allowed, and status repeats it', async () => {
    await initLocalStore(path, { allowSameDevice: true });
    expect(JSON.parse(await readFile(join(directories[1]!, 'pars-store.json'), 'utf8'))).toMatchObject({
      format: 1,
      index: 1,
      directories,
      allowSameDevice: true,
    });
    expect((await LocalStore.fromPath(path, { disk: plainDisk }).status()).warnings.join()).toContain(
      '3 directories lie on 1 device',
    );
  });

  it('refuses directories that hold something else, but not the lost+found of a new disk', async () => {
    for (const directory of directories) await mkdir(join(directory, 'lost+found'), { recursive: true });
    await writeFile(join(directories[2]!, 'photo.jpg'), '');
    expect((await failure(initLocalStore(path, { allowSameDevice: true }), 'refused')).message).toContain(
      'photo.jpg',
    );
    await rm(join(directories[2]!, 'photo.jpg'));
    await initLocalStore(path, { allowSameDevice: true });
    expect(await LocalStore.fromPath(path, { disk: plainDisk }).list('')).toEqual([]);
  });

  it('writes through nothing that somebody laid there (row 9)', async () => {
    await mkdir(directories[0]!);
    await writeFile(join(root, 'of-root'), 'as it was');
    await symlink(join(root, 'of-root'), join(directories[0]!, '.pars-store.json.tmp'));
    await initLocalStore(path, { allowSameDevice: true });
    expect(await readFile(join(root, 'of-root'), 'utf8')).toBe('as it was');
  });

  it.skipIf(process.getuid?.() !== 0).each([
    ['of another user', (directory: string) => chown(directory, 1234, 0), 'belongs to user 1234'],
    ['that everybody may write', (directory: string) => chmod(directory, 0o777), 'written by everybody'],
    ['that a group may write', (directory: string) => chown(directory, 0, 1234), 'written by group 1234'],
    ['below one of another user', (directory: string) => chown(join(directory, '..'), 1234, 0), 'belongs to'],
  ])('refuses a directory %s, unless asked, and then status repeats it (row 9)', async (_, hand, said) => {
    for (const directory of directories) await mkdir(directory, { mode: 0o700 });
    await chmod(directories[1]!, 0o770);
    await hand(directories[1]!);
    const error = await failure(initLocalStore(path, { allowSameDevice: true }), 'refused');
    expect(error.message).toContain(said);
    expect(error.hint).toContain('--force');
    expect(await readdir(directories[0]!)).toEqual([]);
    await initLocalStore(path, { force: true });
    await hand(directories[1]!);
    await chmod(directories[1]!, (await stat(directories[1]!)).mode | 0o020);
    const { warnings } = await LocalStore.fromPath(path, { disk: plainDisk }).status();
    expect(warnings.join()).toMatch(/who can write to a store can read/);
  });

  it('does nothing the second time', async () => {
    const first = await initLocalStore(path, { allowSameDevice: true });
    const second = await initLocalStore(path, { allowSameDevice: true });
    expect(second).toEqual({ ...first, marked: [] });
  });

  it('gives a replaced disk its mark back, when asked for by name', async () => {
    const { storeId } = await initLocalStore(path, { allowSameDevice: true });
    await rm(directories[1]!, { recursive: true });
    await mkdir(directories[1]!);
    expect((await failure(initLocalStore(path), 'refused')).hint).toContain(`--replace ${directories[1]}`);
    const result = await initLocalStore(path, { replace: directories[1]! });
    expect(result).toMatchObject({ storeId, marked: [directories[1]] });
    expect(await LocalStore.fromPath(path, { disk: plainDisk }).status()).toMatchObject({
      usablePlaces: 3,
      storeId,
    });
  });

  it('replaces only what is empty and was lost', async () => {
    await initLocalStore(path, { allowSameDevice: true });
    await failure(initLocalStore(path, { replace: directories[0]! }), 'refused');
    await failure(initLocalStore(path, { replace: '/elsewhere' }), 'usage');
    await rm(join(directories[0]!, 'pars-store.json'));
    await writeFile(join(directories[0]!, 'photo.jpg'), '');
    await failure(initLocalStore(path, { replace: directories[0]! }), 'refused');
  });

  describe('where each directory is to be a disk of its own', () => {
    const elsewhere = 1_000_000;

    /** Gives each directory a device of its own, but for those named here; what is above has that of /. */
    const onDevices = (devices: Record<string, number>): Files =>
      failing({
        stat: (async (path: string) => {
          const stats = await nodeFiles.stat(path);
          const device = directories.indexOf(path);
          const dev = devices[path] ?? (device < 0 ? (await nodeFiles.stat('/')).dev : elsewhere + device);
          return Object.assign(stats, { dev });
        }) as unknown as Files['stat'],
      });

    beforeEach(async () => {
      for (const directory of directories) await mkdir(directory);
    });

    it('takes mount points', async () => {
      expect(await initLocalStore(path, { files: onDevices({}) })).toMatchObject({ allowSameDevice: false });
    });

    it('refuses one on the file system of /: its disk is not mounted', async () => {
      const files = onDevices({ [directories[1]!]: (await nodeFiles.stat('/')).dev });
      const error = await failure(initLocalStore(path, { files }), 'refused');
      expect(error.message).toContain(`${directories[1]} lies on the file system of /`);
      expect(error.hint).toContain('--force');
      for (const directory of directories) expect(await readdir(directory)).toEqual([]);
      expect(await initLocalStore(path, { files, force: true })).toMatchObject({ allowSameDevice: false });
    });

    it('refuses one on the file system of its parent, which is not that of /', async () => {
      const files = onDevices({ [root]: 77, [directories[2]!]: 77 });
      const error = await failure(initLocalStore(path, { files }), 'refused');
      expect(error.message).toContain(`${directories[2]} lies on the same file system as ${root}`);
      await initLocalStore(path, { files, allowSameDevice: true });
    });

    it('refuses one that is not there: it would be made on the disk above', async () => {
      await rm(directories[0]!, { recursive: true });
      const plain = onDevices({});
      const stat = (async (target: string) =>
        target === directories[0] ? nodeFiles.stat(target) : plain.stat(target)) as unknown as Files['stat'];
      const error = await failure(initLocalStore(path, { files: { ...plain, stat } }), 'refused');
      expect(error.message).toContain(`${directories[0]} does not exist`);
    });

    it('records that forced directories share a device', async () => {
      const files = onDevices({ [directories[2]!]: elsewhere });
      await failure(initLocalStore(path, { files }), 'refused');
      expect(await initLocalStore(path, { files, force: true })).toMatchObject({ allowSameDevice: true });
    });

    it('replaces no disk that is not mounted', async () => {
      await initLocalStore(path, { files: onDevices({}) });
      await rm(join(directories[1]!, 'pars-store.json'));
      const files = onDevices({ [directories[1]!]: (await nodeFiles.stat('/')).dev });
      const replace = directories[1]!;
      const error = await failure(initLocalStore(path, { files, replace }), 'refused');
      expect(error.message).toContain('its disk is not mounted');
      expect(await readdir(replace)).toEqual([]);
      await initLocalStore(path, { files, replace, force: true });
    });
  });

  it('refuses fewer directories than the policy keeps copies', async () => {
    const one = { allowSameDevice: true, copies: 3 };
    const error = await failure(initLocalStore(directories[0]!, one), 'refused');
    expect(error.message).toBe('the policy keeps 3 copies, and the store has 1 directory');
    expect(await readdir(root)).toEqual([]);
    await initLocalStore(path, one);
    await initLocalStore(join(root, 'single'), { ...one, force: true });
  });

  it('takes its marks back when it cannot finish', async () => {
    const files = failing({
      chmod: async (...args: Parameters<Files['chmod']>) => {
        if (String(args[0]).endsWith('d3')) throw diskFailure('EROFS');
        return nodeFiles.chmod(...args);
      },
    });
    await failure(initLocalStore(path, { allowSameDevice: true, files }), 'unreachable');
    await initLocalStore(path, { allowSameDevice: true });
  });

  it.each(['srv/d1', '', '/', '/a,/a', '/a,,/b'])('refuses %j as directories', async (bad) => {
    await failure(initLocalStore(bad), 'usage');
  });

  it('closes directories that others could read', async () => {
    await mkdir(directories[0]!);
    await chmod(directories[0]!, 0o755);
    await initLocalStore(path, { allowSameDevice: true });
    expect((await stat(directories[0]!)).mode & 0o777).toBe(0o700);
  });
});
