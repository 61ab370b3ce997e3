// SPDX-License-Identifier: Apache-2.0
/**
 * Saves outside libvirt's own directory: where they are looked for, what is one, and how the kernel tells.
 */
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ImageFile } from '../../src/image/image-file.js';
import { finishedSavesOn } from '../../src/image/save-watcher.js';
import { directoriesOf, savesInDirectory } from '../../src/image/watched-directories.js';
import { finishedSaves, noteFinishedSave } from '../../src/journal/finished-saves.js';
import type { Job } from '../../src/journal/jobs.js';
import { native } from '../../src/native.js';
import { offloadPending } from '../../src/queue/pending.js';
import { allSaves, isManagedSave, tellHook } from '../../src/status/save-places.js';
import { smallImage } from '../support/image-builder.js';

let root: string;
let saveDir: string;
let stateDir: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pars-watched-'));
  [saveDir, stateDir] = [join(root, 'saves'), join(root, 'state')];
  for (const path of [saveDir, stateDir, join(root, 'srv')]) mkdirSync(path);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function directory(name: string): string {
  mkdirSync(join(root, 'srv', name), { recursive: true });
  return join(root, 'srv', name);
}

function save(path: string, magic = 'LibvirtQemudSave'): string {
  const { bytes } = smallImage();
  bytes.write(magic, 'latin1');
  writeFileSync(path, bytes);
  return path;
}

describe('the directories that a pattern names', () => {
  it('are those that match, part by part; what is hidden only when it is said', async () => {
    const [a, b] = [directory('a/mem'), directory('b.d/mem')];
    directory('.hidden/mem');
    writeFileSync(join(root, 'srv/file'), '');
    expect(await directoriesOf([join(root, 'srv/*/mem')])).toEqual([a, b]);
    expect(await directoriesOf([join(root, 'srv/?.d/mem'), join(root, 'srv/b.*/mem')])).toEqual([b]);
    expect(await directoriesOf([join(root, 'srv/.h*/mem')])).toEqual([join(root, 'srv/.hidden/mem')]);
    expect(await directoriesOf([join(root, 'none/*/mem'), a])).toEqual([a]);
  });

  it('are found behind symbolic links, whatever their names', async () => {
    const odd = directory('a b+(c)');
    symlinkSync(odd, join(root, 'link'));
    expect(await directoriesOf([join(root, 'li*')])).toEqual([join(root, 'link')]);
    expect(await directoriesOf([join(root, 'srv/a b+(*')])).toEqual([odd]);
  });
});

describe('the finished saves in a directory', () => {
  it('are told by what the files hold, and unfinished ones are none', async () => {
    const at = directory('saves');
    const found = save(join(at, 'any name'));
    save(join(at, 'unfinished'), 'LibvirtQemudPart');
    writeFileSync(join(at, 'short'), 'LibvirtQemudSave');
    symlinkSync(found, join(at, 'link'));
    mkdirSync(join(at, 'directory'));
    expect(await savesInDirectory(at)).toEqual([found]);
    expect(await savesInDirectory(at, new Set([found]))).toEqual([]);
    expect(await savesInDirectory(join(at, 'none'))).toEqual([]);
  });

  it('are in the queue beside the managed saves, and so is what a watch has noted', async () => {
    const managed = save(join(saveDir, 'web.save'));
    const [watched, noted] = [save(join(directory('w'), 'x')), save(join(directory('elsewhere'), 'y'))];
    await noteFinishedSave(stateDir, noted);
    const places = { stateDir, saveDir, watch: [join(root, 'srv/w')] };
    expect(await allSaves(places, [])).toEqual([managed, watched, noted]);
    const kinds = [managed, watched, noted].map((path) => isManagedSave(path, saveDir));
    expect(await Promise.all(kinds)).toEqual([true, false, false]);
    const offload = async (image: string): Promise<boolean> => {
      rmSync(image);
      return true;
    };
    const { offloaded, left } = await offloadPending({
      ...places,
      concurrency: 1,
      largestFirst: async () => true,
      offload,
    });
    expect({ offloaded: offloaded.sort(), left }).toEqual({
      offloaded: [managed, watched, noted].sort(),
      left: [],
    });
    expect(await finishedSaves(stateDir), 'a note lasts as long as its image').toEqual([]);
  });

  it('are left alone while a job works on them', async () => {
    const watched = save(join(directory('w'), 'x'));
    const job = { image: watched, state: 'running', kind: 'hydrate' } as Job;
    expect(await allSaves({ stateDir, saveDir, watch: [join(root, 'srv/w')] }, [job])).toEqual([]);
  });

  it('stay noted while somebody has them open alone, and while their directory is not there', async () => {
    const at = directory('elsewhere');
    const noted = save(join(at, 'y'));
    await noteFinishedSave(stateDir, noted);
    const places = { stateDir, saveDir };
    const holder = await ImageFile.open(noted);
    const fd = await holder.keepOnlyWritable();
    expect(native().takeWriteLease(fd)).toBe(true);
    expect(await allSaves(places, []), 'nobody else may open it').toEqual([]);
    await holder.close();
    expect(await allSaves(places, [])).toEqual([noted]);

    renameSync(at, `${at}.away`);
    expect(await allSaves(places, []), 'a disk that is not mounted').toEqual([]);
    mkdirSync(at);
    expect(await allSaves(places, []), 'nor where it is to be mounted').toEqual([]);
    rmSync(at, { recursive: true });
    renameSync(`${at}.away`, at);
    expect(await allSaves(places, [])).toEqual([noted]);
    rmSync(noted);
    expect(await allSaves(places, [])).toEqual([]);
    expect(await finishedSaves(stateDir)).toEqual([]);
  });

  it('are told to the hook by a file that is empty when nothing is watched', async () => {
    const { statSync } = await import('node:fs');
    await tellHook({ stateDir, watch: ['/srv/w'] });
    expect(statSync(join(stateDir, 'watched')).size).toBeGreaterThan(0);
    await tellHook({ stateDir, watch: [] });
    expect(statSync(join(stateDir, 'watched')).size).toBe(0);
  });
});

describe.skipIf(process.getuid?.() !== 0)('the kernel', () => {
  it('tells of every finished save on a file system, with its name, and of nothing else', async () => {
    const stop = new AbortController();
    const events = finishedSavesOn([saveDir], stop.signal);
    expect((await events.next()).value, 'it has begun').toBeNull();
    const at = directory("a b'\n");
    save(join(at, 'unfinished'), 'LibvirtQemudPart');
    writeFileSync(join(at, 'other'), Buffer.alloc(8 << 20));
    const source = save(join(at, 'x.save'));
    const told: unknown[] = [];
    // What others finish on this file system meanwhile is told of as well.
    while (told.length === 0) {
      const { value } = await events.next();
      if (value && value.image.startsWith(root)) told.push(value);
    }
    expect(told).toEqual([{ image: source, byLibvirt: false }]);
    copyFileSync(source, join(at, 'copy'));
    for (;;) {
      const { value } = await events.next();
      if (value?.image === join(at, 'copy')) break;
    }
    stop.abort();
    expect((await events.next()).done).toBe(true);
  });

  it('is not asked about a directory that is not there', async () => {
    const events = finishedSavesOn([join(root, 'none')], new AbortController().signal);
    await expect(events.next()).rejects.toThrow(
      `cannot watch ${join(root, 'none')}: No such file or directory`,
    );
  });
});
