// SPDX-License-Identifier: Apache-2.0
/**
 * Run by a test as root inside a mount namespace of its own: a store on three small tmpfs, filled until one
 * is full, then unmounted. Prints what happened as JSON. Argument: an empty directory.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ParsError } from '../../src/errors.js';
import { LocalStore } from '../../src/stores/local/local-store.js';
import { initLocalStore } from '../../src/stores/local/init.js';
import { plainDisk } from './disk-primitives.js';

const root = process.argv[2] ?? '';
const directories = ['d1', 'd2', 'd3'].map((name) => join(root, name));

function mount(directory: string, size: string): void {
  mkdirSync(directory, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=700`, 'tmpfs', directory]);
}

async function kindOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'done',
    (error: unknown) => (error instanceof ParsError ? error.kind : String(error)),
  );
}

async function put(store: LocalStore, name: string, data: Buffer): Promise<void> {
  const writer = await store.create(name, { copies: 3, critical: true });
  await writer.write(data);
  await writer.close();
}

mount(directories[0] ?? '', '16m');
mount(directories[1] ?? '', '2m');
mount(directories[2] ?? '', '16m');
const path = directories.join(',');
await initLocalStore(path);
const store = LocalStore.fromPath(path, { disk: plainDisk });

const small = await kindOf(put(store, 'g/s/small', randomBytes(100_000)));
const large = await kindOf(put(store, 'g/s/large', randomBytes(4 << 20)));
const left = directories.map((directory) => readdirSync(join(directory, 'g/s')));
const claim = await kindOf(fillAndClaim());
execFileSync('umount', [directories[2] ?? '']);
const unmounted = await kindOf(put(store, 'g/s/other', randomBytes(10)));
const replaced = await kindOf(initLocalStore(path, { replace: directories[2] ?? '' }));
console.log(
  JSON.stringify({
    small,
    large,
    left,
    claim,
    unmounted,
    replaced,
    mountPoint: readdirSync(directories[2] ?? ''),
  }),
);

/** A full disk refuses the smallest claim too, and the other disks forget it. */
async function fillAndClaim(): Promise<void> {
  try {
    writeFileSync(join(directories[1] ?? '', 'filler'), Buffer.alloc(4 << 20));
  } catch {
    // full now
  }
  await store.createExclusive('g/s/state-x', Buffer.from('claim'), { copies: 3 });
}
