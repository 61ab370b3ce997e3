// SPDX-License-Identifier: Apache-2.0
/** A local store in temporary directories, and ways to harm it. */
import { mkdtemp, open, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StoreFixture } from '../contract/store.js';
import { LocalStore } from '../../src/stores/local/local-store.js';
import { type Files, nodeFiles } from '../../src/stores/local/files.js';
import { initLocalStore } from '../../src/stores/local/init.js';
import type { DiskPrimitives } from '../../src/stores/local/writer.js';
import { plainDisk } from './disk-primitives.js';

export const PLACES = 3;

export interface LocalFixture extends StoreFixture {
  root: string;
  directories: string[];
  path: string;
  store: LocalStore;
}

export async function localFixture(
  files: Files = nodeFiles,
  disk: DiskPrimitives = plainDisk,
  places = PLACES,
): Promise<LocalFixture> {
  const root = await mkdtemp(join(tmpdir(), 'pars-store-'));
  const directories = Array.from({ length: places }, (_, i) => join(root, `d${i + 1}`));
  const path = directories.join(',');
  await initLocalStore(path, { allowSameDevice: true });
  return {
    root,
    directories,
    path,
    store: LocalStore.fromPath(path, { files, disk }),
    reopen: () => LocalStore.fromPath(path, { files, disk }),
    corruptOneCopy: (name) => corruptNext(directories, name),
    dispose: () => rm(root, { recursive: true, force: true }),
  };
}

const spoiled = new Set<string>();

async function corruptNext(directories: string[], name: string): Promise<boolean> {
  for (const file of await copiesOf(directories, name)) {
    if (spoiled.has(file)) continue;
    spoiled.add(file);
    await flipByte(file);
    return true;
  }
  return false;
}

export async function flipByte(file: string, offset = 0): Promise<void> {
  const handle = await open(file, 'r+');
  const byte = Buffer.alloc(1);
  await handle.read(byte, 0, 1, offset);
  byte[0] = (byte[0] ?? 0) ^ 0x80;
  await handle.write(byte, 0, 1, offset);
  await handle.close();
}

export async function copiesOf(directories: string[], name: string): Promise<string[]> {
  const there = await Promise.all(
    directories.map(async (directory) =>
      stat(join(directory, name)).then(
        () => true,
        () => false,
      ),
    ),
  );
  return directories.filter((_, i) => there[i]).map((directory) => join(directory, name));
}

/** Everything in the directories but the markers. */
export async function filesIn(directories: string[]): Promise<string[]> {
  const lists = await Promise.all(directories.map((directory) => readdir(directory, { recursive: true })));
  return lists.flat().filter((name) => name !== 'pars-store.json');
}

/** File operations of which one fails. */
export function failing(replace: Partial<Files>): Files {
  return { ...nodeFiles, ...replace };
}

export function diskFailure(code: string): Error {
  return Object.assign(new Error(`${code}: injected`), { code });
}
