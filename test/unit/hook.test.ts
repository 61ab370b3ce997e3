// SPDX-License-Identifier: Apache-2.0
/**
 * The installed script by itself: what it runs, what it says, how long it takes. Node and the background
 * starters are stand-ins that write down how they were called.
 */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { domainXml, smallImage, UUID } from '../support/image-builder.js';
import { EVIL_NAME } from '../support/manifests.js';
import { shellWord } from '../../src/system/shell-word.js';
import {
  called,
  hook,
  log,
  root,
  run,
  runHolding,
  smallStub,
  standIn,
  untilCalled,
  useHook,
  XML,
} from '../support/hook-bench.js';

useHook();

/** What a power cut leaves of a change of which only the second sector came to the disk. */
function mixture(): Buffer {
  const { bytes, headEnd } = smallImage();
  const mixed = Buffer.from(bytes);
  const at = headEnd + 512 - (headEnd % 512);
  smallStub().copy(mixed, at, at, at + 64);
  return mixed;
}

describe('the hook with nothing to do', () => {
  it.each([
    'prepare begin',
    'start begin',
    'started begin',
    'stopped end',
    'release end',
    'reconnect begin',
    'migrate begin',
    'attach begin',
  ])('at "%s" reads all of stdin, says nothing, starts nothing, and succeeds', (operation) => {
    expect(run('guest', operation)).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(called()).toEqual([]);
  });

  it('costs a small part of what starting Node would', async () => {
    const xml = join(root, 'xml');
    writeFileSync(xml, XML);
    const timed = async (command: string, calls: number): Promise<number> => {
      const began = process.hrtime.bigint();
      await promisify(execFile)('sh', [
        '-c',
        `i=0; while [ $i -lt ${calls} ]; do ${command} || exit 1; i=$((i+1)); done`,
      ]);
      return Number(process.hrtime.bigint() - began) / calls;
    };
    let best = Infinity;
    for (let batch = 0; batch < 3; batch++) {
      const hooked = await timed(`${shellWord(hook())} guest started begin - <${shellWord(xml)}`, 20);
      best = Math.min(best, hooked / (await timed(`${shellWord(process.execPath)} -e 0`, 3)));
    }
    expect(best).toBeLessThan(1 / 3);
  });
});

describe('the hook after a save', () => {
  const WORKER = (): string[] => [
    '/p/dist/cli.js',
    'offload',
    '--store',
    'local:/a b',
    '--quiet',
    '--pending',
    '--save-dir',
    join(root, 'saves'),
  ];

  it.each(['guest', EVIL_NAME, 'work-off'])('of "%s" starts a worker, whatever the name', async (name) => {
    writeFileSync(join(root, 'saves', `${name}.save`), '');
    expect(run(name, 'stopped end')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(await untilCalled()).toEqual(WORKER());
  });

  it('of forty guests at once has one worker at a time, and one that looks after the last save', async () => {
    // As the program does: holds the lock while it works. It says how many saves there are when it begins to
    // look.
    standIn(
      'node',
      `exec 7>"${root}/state/worker.lock"; flock -n 7 || exit 0; ls "${root}/saves" | wc -l >>"$LOG"; `
        + `sleep 0.3`,
    );
    for (let i = 0; i < 40; i++) {
      writeFileSync(join(root, 'saves', `g${i}.save`), '');
      run(`g${i}`, 'stopped end');
    }
    for (let i = 0; i < 250 && called().at(-1)?.trim() !== '40'; i++)
      await new Promise((resolve) => setTimeout(resolve, 20));
    const seen = called().map(Number);
    expect(seen.at(-1)).toBe(40);
    expect(seen.length).toBeLessThan(40);
  });

  it('succeeds although the program cannot be run', async () => {
    writeFileSync(join(root, 'saves', 'guest.save'), '');
    standIn('node', 'echo failed >>"$LOG"; exit 1');
    expect(run('guest', 'stopped end').code).toBe(0);
    expect(await untilCalled(1)).toEqual(['failed']);
  });
});

describe('the hook at "started begin"', () => {
  it('notes the start of a guest that has a stub here, and no other (R25)', () => {
    writeFileSync(join(root, 'state/stubs', `99999999${UUID.slice(8)}.${'0'.repeat(32)}.json`), '{}');
    run('guest', 'started begin');
    expect(existsSync(join(root, 'state/started', UUID))).toBe(false);
    writeFileSync(join(root, 'state/stubs', `${UUID}.${'0'.repeat(32)}.json`), '{}');
    expect(run('guest', 'started begin')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(existsSync(join(root, 'state/started', UUID))).toBe(true);
    expect(called()).toEqual([]);
  });

  it('takes nothing but a UUID from the XML', () => {
    writeFileSync(join(root, 'state/stubs', 'x'), '');
    const xml = `<domain>\n<uuid>../../../x</uuid>\n</domain>`;
    expect(run('guest', 'started begin', { input: xml })).toEqual({ code: 0, stdout: '', stderr: '' });
  });
});

describe('the hook at "restore begin"', () => {
  it('asks the program, with the UUID and the daemon it serves', () => {
    expect(run('guest', 'restore begin')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(called()).toEqual([
      '/p/dist/cli.js',
      'hook-restore',
      '--store',
      'local:/a b',
      '--',
      UUID,
      String(process.pid),
    ]);
  });

  it('asks the program when the reader cannot be run', () => {
    expect(runHolding(smallImage().bytes, '/nowhere')).toBe(0);
    expect(called().at(-2)).toBe(UUID);
  });

  it('does not start Node for an image that is whole', () => {
    expect(runHolding(smallImage().bytes)).toBe(0);
    expect(called()).toEqual([]);
  });

  it('asks the program for a stub', () => {
    expect(runHolding(smallStub())).toBe(0);
    expect(called().at(-2)).toBe(UUID);
  });

  it('asks the program for an image whose change into a stub a power cut may have cut short', () => {
    mkdirSync(join(root, 'state/changes'));
    writeFileSync(join(root, 'image.save'), '');
    writeFileSync(join(root, `state/changes/1.${statSync(join(root, 'image.save')).ino}.json`), '{}');
    expect(runHolding(mixture())).toBe(0);
    expect(called().at(-2)).toBe(UUID);
  });

  it('asks nobody for a whole image because the change of another file was cut short', () => {
    mkdirSync(join(root, 'state/changes'));
    writeFileSync(join(root, 'state/changes/1.2.json'), '{}');
    expect(runHolding(smallImage().bytes)).toBe(0);
    expect(called()).toEqual([]);
  });

  it('asks the program when only the image of another guest is open', () => {
    expect(runHolding(smallImage({ xml: domainXml({ uuid: `99999999${UUID.slice(8)}` }) }).bytes)).toBe(0);
    expect(called().at(-2)).toBe(UUID);
  });
});

describe('a reader that was taken over (row 2)', () => {
  it.each([
    ['hangs', 'trap : TERM; while :; do sleep 1; done'],
    ['answers without end', 'exec cat /dev/zero >&4'],
    ['answers without end in words', 'yes \'"uuid":""\' >&4'],
  ])('%s: the start is left to the program soon', (_, body) => {
    standIn('pars-reader', body);
    const began = Date.now();
    expect(runHolding(smallStub(), join(root, 'bin/pars-reader'))).toBe(0);
    expect(Date.now() - began).toBeLessThan(30_000);
    expect(called().some((line) => line.includes('hook-restore'))).toBe(true);
  });

  it("is not given another guest's image", () => {
    standIn('pars-reader', 'echo reader >>"$LOG"; sleep 60');
    runHolding(smallStub('11111111-2222-3333-4444-555555555555'), join(root, 'bin/pars-reader'));
    expect(called()).not.toContain('reader');
  });
});

it('megabytes of XML without a UUID are drained, not read byte by byte (row 14)', () => {
  const began = Date.now();
  const { status } = spawnSync('/bin/sh', [hook(), 'g', 'restore', 'begin', '-'], {
    input: Buffer.alloc(20 << 20, 'x'),
    env: { ...process.env, LOG: log, PATH: `${join(root, 'bin')}:${process.env['PATH']}` },
  });
  expect(status).toBe(0);
  expect(Date.now() - began).toBeLessThan(3000);
});
