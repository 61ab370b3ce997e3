// SPDX-License-Identifier: Apache-2.0
/** Starts and reverts that the hook refuses, and those that are none of its business (R18, R30). */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { smallImage, UUID } from '../support/image-builder.js';
import { shellWord } from '../../src/system/shell-word.js';
import {
  called,
  hook,
  log,
  READER,
  root,
  run,
  runHolding,
  runUnder,
  smallStub,
  standIn,
  useHook,
  XML,
} from '../support/hook-bench.js';

useHook();

describe('the hook and a start that is refused (R30)', () => {
  const SAID = { code: 0, stdout: '', stderr: '' };
  const CANNOT_LOAD =
    'printf "node:internal/modules:1\\n  throw err;\\n\\n'
    + `Error: Cannot find module '/p/dist/cli.js'\\n    at x\\n" >&2; exit 1`;

  function noteStub(): void {
    const note = { image: '/saves/guest.save', snapshot: `${UUID}/20261129-1`, token: '0'.repeat(32) };
    writeFileSync(join(root, 'state/stubs', `${UUID}.${'0'.repeat(32)}.json`), JSON.stringify(note, null, 2));
  }

  function refuse(says = 'pars: the store is away'): void {
    expect(run('guest', 'restore begin', { exit: 6, says })).toEqual(SAID);
  }

  it('succeeds at "restore begin", where failing may cost the save; fails once at "prepare begin"', () => {
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

  it('says it without the control characters of eight bits, or any others (row 11)', () => {
    refuse('pars: g\u009b31mä\u007f\u001b[0m');
    expect(readFileSync(`${log}.system`, 'utf8')).toContain('refused: pars: g 31mä  [0m\n');
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
