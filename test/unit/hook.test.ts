// SPDX-License-Identifier: Apache-2.0
/**
 * The installed script by itself: what it runs, what it says, how long it takes. Node and the background
 * starters are stand-ins that write down how they were called.
 */
import { execFile, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { encodeStub } from '../../src/image/stub.js';
import { domainXml, smallImage, UUID } from '../support/image-builder.js';
import { EVIL_NAME } from '../support/manifests.js';
import { shellWord } from '../../src/system/shell-word.js';

const READER = resolve('build/Release/pars-reader');
const XML =
  `<domain type='qemu' id='7'>\n  <name>g &lt;uuid&gt;</name>\n  <uuid>${UUID}</uuid>\n  `
  + `<memory>1</memory>\n${'  <x/>\n'.repeat(2000)}</domain>\n`;

let root: string;
let log: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pars-hook-'));
  for (const name of ['saves', 'state', 'state/stubs', 'state/started', 'bin']) mkdirSync(join(root, name));
  log = join(root, 'log');
  standIn(
    'node',
    `printf '%s\\n' "$@" >>"$LOG"; [ -z "$NODE_SAYS" ] || echo "$NODE_SAYS" >&2; exit "\${NODE_EXIT:-0}"`,
  );
  standIn('logger', 'echo "$*" >>"$LOG.system"');
  standIn('setsid', 'exec "$@"');
  standIn('systemd-run', 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"');
});
// Of forty workers the last may still be ending.
afterEach(() => rmSync(root, { recursive: true, force: true, maxRetries: 10 }));

function standIn(name: string, body: string, mode = 0o755): void {
  rmSync(join(root, 'bin', name), { force: true });
  writeFileSync(join(root, 'bin', name), `#!/bin/sh\n${body}\n`, { mode });
}

function hook(reader = READER): string {
  const values: Record<string, string> = {
    NODE: join(root, 'bin/node'),
    PROGRAM: '/p/dist/cli.js',
    READER: reader,
    STATE: join(root, 'state'),
    SAVES: join(root, 'saves'),
  };
  const text = readFileSync('hooks/qemu', 'utf8').replace(/@([A-Z]+)@/g, (_, key: string) =>
    key === 'OPTIONS' ? "--store 'local:/a b'" : shellWord(values[key] ?? ''),
  );
  const path = join(root, 'hook');
  // A worker may run it just now.
  if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileSync(path, text, { mode: 0o755 });
  return path;
}

interface Run {
  code: number | null;
  stdout: string;
  stderr: string;
}

function run(
  name: string,
  operation: string,
  options: { input?: string; exit?: number; says?: string; reader?: string } = {},
): Run {
  const { input = XML, exit = 0, says = '', reader } = options;
  const env = {
    PATH: `${join(root, 'bin')}:/usr/bin:/bin`,
    LOG: log,
    NODE_EXIT: String(exit),
    NODE_SAYS: says,
  };
  const { status, stdout, stderr } = spawnSync(hook(reader), [name, ...operation.split(' '), '-'], {
    input,
    env,
    encoding: 'utf8',
  });
  return { code: status, stdout, stderr };
}

function called(): string[] {
  return existsSync(log) ? readFileSync(log, 'utf8').split('\n').slice(0, -1) : [];
}

/** The worker in the background makes its files before that: afterwards they can be removed. */
async function untilCalled(lines = 8): Promise<string[]> {
  for (let i = 0; i < 500 && called().length < lines; i++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  return called();
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

  it('asks the program when only the image of another guest is open', () => {
    expect(runHolding(smallImage({ xml: domainXml({ uuid: `99999999${UUID.slice(8)}` }) }).bytes)).toBe(0);
    expect(called().at(-2)).toBe(UUID);
  });
});

describe('the hook and a start that is refused (R30)', () => {
  const SAID = { code: 0, stdout: '', stderr: '' };
  const CANNOT_LOAD = `printf "node:internal/modules:1\\n  throw err;\\n\\nError: Cannot find module '/p/dist/cli.js'\\n    at x\\n" >&2; exit 1`;

  function noteStub(): void {
    const note = { image: '/saves/guest.save', snapshot: `${UUID}/20261129-1`, token: '0'.repeat(32) };
    writeFileSync(join(root, 'state/stubs', `${UUID}.${'0'.repeat(32)}.json`), JSON.stringify(note, null, 2));
  }

  function refuse(says = 'pars: the store is away'): void {
    expect(run('guest', 'restore begin', { exit: 6, says })).toEqual(SAID);
  }

  it('succeeds at "restore begin", where failing may cost the save, and fails once at "prepare begin"', () => {
    refuse();
    expect(run('guest', 'prepare begin')).toEqual({
      code: 1,
      stdout: '',
      stderr: 'pars: the store is away\n',
    });
    expect(run('guest', 'prepare begin')).toEqual(SAID);
  });

  it('keeps what was said for "pars status" until the guest has started', () => {
    refuse();
    run('guest', 'prepare begin');
    expect(readFileSync(join(root, 'state/refused', `${UUID}.said`), 'utf8')).toBe(
      '6\npars: the store is away\n',
    );
    run('guest', 'started begin');
    expect(readdirSync(join(root, 'state/refused'))).toEqual([]);
  });

  it('says it in the log of the system, on one line', () => {
    refuse('pars: first\n  second');
    expect(readFileSync(`${log}.system`, 'utf8')).toBe(
      `--id --tag pars --priority daemon.err -- start of guest ${UUID} refused: pars: first   second\n`,
    );
  });

  it.each([
    ['is not there', () => rmSync(join(root, 'bin/node')), /cannot be run/, 127],
    ['cannot be run', () => standIn('node', 'x', 0o644), /cannot be run/, 126],
    ['is killed', () => standIn('node', 'kill -9 $$'), /137/, 137],
    ['says nothing', () => standIn('node', 'exit 1'), /status 1 and said nothing/, 1],
    ['cannot load its modules', () => standIn('node', CANNOT_LOAD), /status 1 .*Cannot find module '\/p/, 1],
  ])('refuses when the program %s, and says where the memory is', (_, break_, words, code) => {
    break_();
    noteStub();
    expect(run('guest', 'restore begin')).toEqual(SAID);
    const refused = run('guest', 'prepare begin');
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toMatch(words);
    expect(refused.stderr).toMatch(
      /safe in the store as .*do not discard the saved state.*pars hooks install/s,
    );
    expect(refused.stderr).toContain(`as ${UUID}/20261129-1,`);
    expect(readFileSync(join(root, 'state/refused', `${UUID}.said`), 'utf8')).toMatch(
      new RegExp(`^${code}\n`),
    );
  });

  it.each([
    ['is not there', () => rmSync(join(root, 'bin/node'))],
    ['cannot be run', () => standIn('node', 'x', 0o644)],
    ['cannot load its modules', () => standIn('node', CANNOT_LOAD)],
    ['cannot read its configuration', () => standIn('node', 'echo "pars: cannot read it" >&2; exit 2')],
  ])('lets a guest go on that has no stub here when the program %s, and the reader neither', (_, break_) => {
    break_();
    for (const image of [smallImage().bytes, Buffer.from('no image')])
      expect(runHolding(image, '/nowhere')).toBe(0);
    expect(run('guest', 'prepare begin')).toEqual(SAID);
    expect(existsSync(join(root, 'state/refused'))).toBe(false);
    expect(readFileSync(`${log}.system`, 'utf8')).toMatch(/not looked at/);
  });

  it('refuses a stub that is noted nowhere when the program is not there: libvirt has it open', () => {
    rmSync(join(root, 'bin/node'));
    expect(runHolding(smallStub())).toBe(0);
    expect(run('guest', 'prepare begin').stderr).toMatch(/safe in the store, and its stub/);
  });

  it('does nothing for the daemon of an ordinary user, whatever that user may read', () => {
    noteStub();
    const path = hook();
    chmodSync(root, 0o777);
    const asNobody = (operation: string): unknown =>
      spawnSync('setpriv', ['--reuid=65534', '--clear-groups', path, 'guest', ...operation.split(' '), '-'], {
        input: XML,
        env: { PATH: `${join(root, 'bin')}:/usr/bin:/bin`, LOG: log },
        encoding: 'utf8',
      });
    if (process.getuid?.() !== 0) return;
    for (const operation of ['restore begin', 'prepare begin', 'started begin', 'stopped end'])
      expect(asNobody(operation)).toMatchObject({ status: 0, stdout: '', stderr: '' });
    expect(called()).toEqual([]);
  });

  it('does not fail at "restore begin" when nothing can be noted: QEMU refuses the stub', () => {
    writeFileSync(join(root, 'state/refused'), 'a file');
    refuse();
    expect(run('guest', 'prepare begin')).toEqual(SAID);
    expect(readFileSync(`${log}.system`, 'utf8')).toMatch(/refused: pars: the store is away/);
  });

  it('does not fail at "restore begin" when a signal ends it, or the shell itself gives up', () => {
    standIn('node', 'kill -TERM $PPID; exit 3');
    expect(run('guest', 'restore begin')).toEqual(SAID);
    const broken = readFileSync(hook(), 'utf8').replace(
      /^read_uuid\(\) \{/m,
      'read_uuid() {\n  : >/nowhere/at/all',
    );
    writeFileSync(join(root, 'broken'), broken, { mode: 0o755 });
    expect(spawnSync(join(root, 'broken'), ['guest', 'restore', 'begin', '-'], { input: XML }).status).toBe(
      0,
    );
  });

  it.each([
    [
      'another guest',
      () => run('guest', 'prepare begin', { input: XML.replace(UUID, `99999999${UUID.slice(8)}`) }),
    ],
    [
      'a start that comes later',
      () => (age(join(root, 'state/refused', UUID)), run('guest', 'prepare begin')),
    ],
    [
      'a start whose image is made whole',
      () => (run('guest', 'restore begin'), run('guest', 'prepare begin')),
    ],
  ])('does not hold it against %s', (_, prepare) => {
    refuse();
    expect(prepare()).toEqual(SAID);
  });

  it('lets a guest go on whose start cannot be noted', () => {
    writeFileSync(join(root, 'state/stubs', `${UUID}.${'0'.repeat(32)}.json`), '{}');
    rmSync(join(root, 'state/started'), { recursive: true });
    expect(run('guest', 'started begin')).toEqual(SAID);
    expect(readFileSync(`${log}.system`, 'utf8')).toMatch(/could not be noted/);
  });

  function age(path: string): void {
    const then = new Date(Date.now() - 120_000);
    utimesSync(path, then, then);
  }
});

describe('the hook at "prepare begin", which is all that a revert to a snapshot calls', () => {
  it('asks the program for a stub that libvirt has open, hands on the XML, and fails with it', () => {
    standIn('node', `printf '%s\\n' "$@" >>"$LOG"; cat >"$LOG.xml"; echo pars: away >&2; exit 6`);
    expect(runHolding(smallStub(), READER, 'prepare begin', 'pars: away\n')).toBe(6);
    expect(called().slice(0, 3)).toEqual(['/p/dist/cli.js', 'hook-restore', '--prepare']);
    expect(called().slice(-2)[0]).toBe(UUID);
    expect(readFileSync(`${log}.xml`, 'utf8')).toBe(XML);
  });

  it.each([
    ['an image that is whole', () => smallImage().bytes],
    ["another guest's stub", () => smallStub(`99999999${UUID.slice(8)}`)],
    ['a file that is no image', () => Buffer.from('something else')],
  ])('does not start Node for %s', (_, image) => {
    expect(runHolding(image(), READER, 'prepare begin')).toBe(0);
    expect(called()).toEqual([]);
  });

  it('starts no program at all but what drains its input when libvirt reads no file', () => {
    standIn('head', 'echo head >>"$LOG"');
    standIn('pars-reader', 'echo reader >>"$LOG"');
    const path = join(root, 'state.log');
    writeFileSync(path, smallStub());
    for (const how of [`>>${shellWord(path)}`, `<>${shellWord(path)}`, '</dev/null', '</proc/self/maps'])
      expect(runUnder(`exec 7${how}`, join(root, 'bin/pars-reader'), 'prepare begin')).toBe(0);
    // Each time its own input is all that is read.
    expect(called()).toEqual(['head', 'head', 'head', 'head']);
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

function smallStub(domainUuid = UUID): Buffer {
  const { bytes, headEnd } = smallImage({ xml: domainXml({ uuid: domainUuid }) });
  const record = {
    token: '1'.repeat(32),
    domainUuid,
    imageBytes: bytes.length,
    offset: headEnd,
    headDigest: '2'.repeat(64),
    snapshot: 's',
    storeUrl: 'u',
  };
  bytes.fill(0, headEnd);
  encodeStub(record).copy(bytes, headEnd);
  return bytes;
}

/** Runs the hook as the child of a shell that has `image` open, as libvirt's daemon has. */
function runHolding(image: Buffer, reader = READER, operation = 'restore begin', says = ''): number | null {
  const path = join(root, 'image.save');
  writeFileSync(path, image);
  return runUnder(`exec 7<${shellWord(path)}`, reader, operation, says);
}

/** Runs the hook as the child of a shell that did `before`. */
function runUnder(before: string, reader: string, operation: string, says = ''): number | null {
  const env = { PATH: `${join(root, 'bin')}:/usr/bin:/bin`, LOG: log };
  const script = `${before}; ${shellWord(hook(reader))} guest ${operation} -; exit $?`;
  const { status, stdout, stderr } = spawnSync('sh', ['-c', script], { env, input: XML, encoding: 'utf8' });
  expect({ stdout, stderr }).toEqual({ stdout: '', stderr: says });
  return status;
}
