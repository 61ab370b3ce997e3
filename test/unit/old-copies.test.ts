// SPDX-License-Identifier: Apache-2.0
/** Copies of the program that an update leaves behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { removeOldCopies } from '../../src/install/old-copies.js';
import { COPY_MARK } from '../../src/version.js';

let prefix: string;
let hook: string;
let running: ChildProcess | null;

beforeEach(() => {
  prefix = mkdtempSync(join(tmpdir(), 'pars-copies-'));
  hook = join(prefix, 'hook');
  running = null;
  for (const name of ['old', 'older', 'new']) copy(name);
  mkdirSync(join(prefix, 'unmarked'));
  writeFileSync(hook, `node='${join(prefix, 'new')}/bin/node'\n`);
});
afterEach(async () => {
  if (running !== null) {
    const gone = once(running, 'exit');
    if (running.kill('SIGKILL')) await gone;
  }
  rmSync(prefix, { recursive: true });
});

function copy(name: string): void {
  mkdirSync(join(prefix, name, 'bin'), { recursive: true });
  writeFileSync(join(prefix, name, COPY_MARK), '');
  copyFileSync('/bin/sleep', join(prefix, name, 'bin/node'));
  chmodSync(join(prefix, name, 'bin/node'), 0o755);
}

const remove = (): Promise<string[]> => removeOldCopies(prefix, join(prefix, 'new'), [hook]);
const left = (): string[] =>
  ['new', 'old', 'older', 'unmarked'].filter((name) => existsSync(join(prefix, name)));

describe('copies of earlier installations', () => {
  it('go when nothing uses them; what is not a copy stays', async () => {
    expect((await remove()).sort()).toEqual([join(prefix, 'old'), join(prefix, 'older')]);
    expect(left()).toEqual(['new', 'unmarked']);
  });

  it('stay while a process runs from them', async () => {
    running = spawn(join(prefix, 'old/bin/node'), ['600'], { stdio: 'ignore' });
    await once(running, 'spawn');
    expect(await remove()).toEqual([join(prefix, 'older')]);
    expect(left()).toEqual(['new', 'old', 'unmarked']);
  });

  it('stay while a process has them on its command line', async () => {
    running = spawn('sleep', ['600'], { stdio: 'ignore', argv0: `${join(prefix, 'older')}/dist/cli.js` });
    await once(running, 'spawn');
    expect(await remove()).toEqual([join(prefix, 'old')]);
  });

  it('stay while a hook names them', async () => {
    writeFileSync(hook, `node='${join(prefix, 'old')}/bin/node'\n`);
    expect(await remove()).toEqual([join(prefix, 'older')]);
  });

  it('all stay while a hook runs, which may be of an older text', async () => {
    writeFileSync(hook, '#!/bin/sh\nread line\nexit\n');
    chmodSync(hook, 0o755);
    running = spawn(hook, { stdio: ['pipe', 'ignore', 'ignore'] });
    await once(running, 'spawn');
    expect(await remove()).toEqual([]);
    expect(left()).toEqual(['new', 'old', 'older', 'unmarked']);
  });
});
