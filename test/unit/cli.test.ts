// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Cli } from '../../src/cli/context.js';
import { Interruption } from '../../src/cli/interruption.js';
import { buildProgram } from '../../src/program/program.js';
import { COMMANDS } from '../../src/program/table.js';
import { EXIT_CODES, ParsError } from '../../src/errors.js';
import { encodeManifest } from '../../src/snapshot/manifest-codec.js';
import { objectPath } from '../../src/snapshot/snapshots.js';
import { put } from '../contract/store.js';
import { smallImage } from '../support/image-builder.js';
import { type LocalFixture, localFixture } from '../support/local-store.js';
import { EVIL_NAME, sampleManifest } from '../support/manifests.js';
import { runPars as pars } from '../support/run-pars.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pars-cli-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('pars --help', () => {
  it('names every command and every exit code', async () => {
    const { exitCode, stdout } = await pars('--help');
    expect(exitCode).toBe(0);
    for (const { words } of COMMANDS.filter(({ hidden }) => !hidden))
      expect(stdout).toContain(`\n  ${words[0]} `);
    for (const [kind, code] of Object.entries(EXIT_CODES))
      expect(stdout).toMatch(new RegExp(`^  ${code} +${kind} `, 'm'));
  });

  it.each(COMMANDS.map(({ words }) => words.join(' ')))(
    '%s has help with its shared options',
    async (words) => {
      const { exitCode, stdout } = await pars(...words.split(' '), '--help');
      expect(exitCode).toBe(0);
      expect(stdout).toContain(`Usage: pars ${words}`);
      const entry = COMMANDS.find((command) => command.words.join(' ') === words);
      for (const option of entry?.shared ?? []) expect(stdout).toContain(`--${option}`);
    },
  );

  it.each([
    [['help'], 'Usage: pars [options] [command]'],
    [['help', 'list'], 'Usage: pars list [options]'],
    [['help', 'store'], 'Usage: pars store [options] [command]'],
    [['help', 'store', 'init'], '--allow-same-device'],
    [['store', 'help', 'init'], '--allow-same-device'],
  ])('%j is help about what it names', async (argv, text) => {
    expect(await pars(...argv)).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining(text) as string,
    });
  });

  it('is no error into a pipe that nobody reads', () => {
    const program = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
    const { status, stderr } = spawnSync(
      'bash',
      ['-c', '"$@" | true; exit "${PIPESTATUS[0]}"', 'bash', process.execPath, program, '--help'],
      { encoding: 'utf8' },
    );
    expect([status, stderr]).toEqual([0, '']);
  });

  it('loads only the command that is called', async () => {
    const program = await buildProgram(['list'], new Cli());
    const optionsOf = (name: string): number =>
      program.commands.find((command) => command.name() === name)?.options.length ?? 0;
    expect(optionsOf('list')).toBeGreaterThan(0);
    expect(optionsOf('report')).toBe(0);
  });
});

describe('wrong use', () => {
  it.each([
    [['lst'], /unknown command 'lst'[^]*Did you mean list/],
    [['list', '--jsn'], /unknown option '--jsn'/],
    [['show'], /missing required argument/],
    [['store', 'int'], /unknown command 'int'/],
    [['help', 'bogus'], /unknown command 'bogus'/],
    [['help', 'store', 'bogus'], /unknown command 'store bogus'/],
    [['help', 'list', 'more'], /unknown command 'list more'/],
    [['report', '/nowhere', '--disks', '0.4'], /"0.4" is not an integer/],
    [['report', '/nowhere', '--disks', '0'], /"0" is not a positive number/],
    [['list'], /no store is configured/],
    [['list', '--store', 'ftp://x'], /"ftp:\/\/x" is not the URL of a store[^]*known: local:/],
    [
      ['offload', '--pending', '--keep-local'],
      /--pending frees the images it stores, and --keep-local frees none[^]*pars offload --keep-local IMAGE/,
    ],
    [['offload', '--pending', '--force'], /nothing to force[^]*pars offload --force IMAGE/],
    [
      ['report', '/nowhere', '--policy', 'leen'],
      /there is no policy "leen"[^]*replicate-all, pars, lean, minimal/,
    ],
  ])('%j is a usage error that helps', async (argv, message) => {
    writeFileSync(join(directory, 'empty.yaml'), '');
    const withConfig =
      argv.length > 1 || argv[0] === 'list'
        ? [
            ...argv,
            ...(argv[0] === 'list' || argv[0] === 'report'
              ? ['--config', join(directory, 'empty.yaml')]
              : []),
          ]
        : argv;
    const { exitCode, stdout, stderr } = await pars(...withConfig);
    expect(exitCode).toBe(EXIT_CODES.usage);
    expect(stderr).toMatch(message);
    expect(stdout).toBe('');
  });

  it('is one JSON object with --json', async () => {
    const { exitCode, stdout, stderr } = await pars('show', '--json');
    expect(exitCode).toBe(EXIT_CODES.usage);
    expect(JSON.parse(stdout)).toEqual({
      error: { kind: 'usage', message: "missing required argument 'snapshot'", hint: 'see: pars --help' },
    });
    expect(stderr).toBe('');
  });
});

describe('a file to be written', () => {
  const targets = (): [string, RegExp][] => [
    [join(directory, 'none', 'deeper', 'file'), /there is no directory .*none\/deeper/],
    [directory, /is a directory[^]*NAME/],
    [join(directory, 'socket'), /is not a regular file/],
    [join(directory, 'socket', 'file'), /there is no directory .*socket/],
  ];

  it.each(['--to', '--html'])(
    '%s is refused before the work when it cannot be one, and nothing is made',
    async (option) => {
      const fixture = await localFixture();
      const image = join(directory, 'g.save');
      const socket = createServer().listen(join(directory, 'socket'));
      await once(socket, 'listening');
      writeFileSync(image, smallImage().bytes);
      try {
        for (const [path, message] of targets()) {
          const call =
            option === '--to'
              ? ['restore', 'abc', '--force', '--store', `local:${fixture.path}`]
              : ['report', image, '--config', join(directory, 'empty.yaml')];
          writeFileSync(join(directory, 'empty.yaml'), '');
          expect(await pars(...call, option, path)).toMatchObject({
            exitCode: EXIT_CODES.usage,
            stdout: '',
            stderr: expect.stringMatching(message) as string,
          });
        }
      } finally {
        socket.close();
        await fixture.dispose();
      }
      expect(existsSync(join(directory, 'none'))).toBe(false);
    },
  );

  it('takes no disks elsewhere: its XML is as it was', async () => {
    const { exitCode, stderr } = await pars(
      'restore',
      'abc',
      '--to',
      join(directory, 'file'),
      '--set-disk',
      'vda=/srv/x.qcow2',
      '--store',
      'local:/srv',
    );
    expect(exitCode).toBe(EXIT_CODES.usage);
    expect(stderr).toMatch(/--set-disk changes the guest that --define defines/);
  });
});

describe('errors', () => {
  it.each(Object.entries(EXIT_CODES))('%s ends with exit code %i', async (kind, code) => {
    const cli = new Cli();
    const err = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    await cli.run({}, () =>
      Promise.reject(new ParsError(kind as keyof typeof EXIT_CODES, 'what', { hint: 'do this' })),
    );
    expect(cli.exitCode).toBe(code);
    expect(err.mock.calls.map(([chunk]) => String(chunk)).join('')).toMatch(/what\n +do this/);
    err.mockRestore();
  });

  it('abort the work at a signal, and say so in the exit code', async () => {
    const cli = new Cli();
    const err = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    await cli.run({}, async ({ signal }) => {
      process.emit('SIGTERM', 'SIGTERM');
      signal.throwIfAborted();
    });
    expect(cli.exitCode).toBe(128 + 15);
    err.mockRestore();
  });

  it('take their signal handlers away', () => {
    const before = process.listenerCount('SIGINT');
    const interruption = new Interruption();
    expect(process.listenerCount('SIGINT')).toBe(before + 1);
    interruption.dispose();
    expect(process.listenerCount('SIGINT')).toBe(before);
  });
});

describe('a store and its snapshots', () => {
  let fixture: LocalFixture;
  let url: string;
  const manifest = sampleManifest();

  beforeEach(async () => {
    fixture = await localFixture();
    url = `local:${fixture.path}`;
    await put(fixture.store, objectPath(manifest.snapshot, 'skeleton.0'), Buffer.from('x'), 3);
    await put(fixture.store, objectPath(manifest.snapshot, 'manifest.json'), encodeManifest(manifest), 3);
  });
  afterEach(() => fixture.dispose());

  it('store init and store status', async () => {
    const fresh = ['a', 'b', 'c'].map((name) => join(directory, name));
    const store = `local:${fresh.join(',')}`;
    await mkdir(fresh[0]!);
    expect((await pars('store', 'status', '--store', store)).exitCode).toBe(EXIT_CODES.unreachable);
    expect((await pars('store', 'init', '--store', store)).exitCode).toBe(EXIT_CODES.refused);
    const two = `local:${fresh.slice(0, 2).join(',')}`;
    expect(await pars('store', 'init', '--store', two, '--allow-same-device')).toMatchObject({
      exitCode: EXIT_CODES.refused,
      stderr: expect.stringContaining('the policy keeps 3 copies, and the store has 2 directories') as string,
    });
    expect(await pars('store', 'init', '--store', store, '--allow-same-device')).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining('3 directories') as string,
    });
    const { exitCode, stdout } = await pars('store', 'status', '--store', store, '--json');
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      usablePlaces: 3,
      places: 3,
      warnings: [expect.stringContaining('1 device')],
    });
    rmSync(join(fresh[1]!, 'pars-store.json'));
    expect((await pars('store', 'status', '--store', store)).exitCode).toBe(EXIT_CODES.unreachable);
    expect((await pars('store', 'init', '--store', store, '--replace', fresh[1]!)).exitCode).toBe(0);
  });

  it('list and show', async () => {
    const { stdout } = await pars('list', '--store', url);
    expect(stdout).toContain(manifest.snapshot);
    expect(stdout).toContain(EVIL_NAME);
    const listed = JSON.parse((await pars('list', '--store', url, '--json')).stdout) as {
      snapshots: unknown[];
    };
    expect(listed.snapshots).toEqual([
      expect.objectContaining({
        snapshot: manifest.snapshot,
        state: 'committed',
        storedBytes: 123456,
        domain: manifest.domain,
      }),
    ]);
    expect((await pars('show', manifest.snapshot.slice(0, 10), '--store', url)).stdout).toMatch(
      /CLASS +PAGES +IN IMAGE +COPIES +STORED/,
    );
    expect(
      JSON.parse((await pars('show', manifest.snapshot, '--store', url, '--json')).stdout),
    ).toMatchObject({ state: 'committed', manifest });
    expect((await pars('show', 'fff', '--store', url)).exitCode).toBe(EXIT_CODES.missing);
  });

  it('list takes the start of a name; none that starts so is missing, none at all an answer', async () => {
    for (const beginning of [
      manifest.domain.uuid,
      manifest.domain.uuid.slice(0, 6).toUpperCase(),
      manifest.snapshot,
    ]) {
      expect(await pars('list', beginning, '--store', url)).toMatchObject({
        exitCode: 0,
        stdout: expect.stringContaining(manifest.snapshot) as string,
      });
    }
    for (const beginning of ['fff', 'web', '99999999-2222-3333-4444-555555555555']) {
      expect(await pars('list', beginning, '--store', url)).toMatchObject({
        exitCode: EXIT_CODES.missing,
        stdout: '',
        stderr: expect.stringContaining(`no snapshot whose name begins with "${beginning}"`) as string,
      });
    }
    const named = ['rm', manifest.snapshot, '--store', url, '--force', '--owner', manifest.owner.machineId];
    expect((await pars(...named)).stdout).toContain('Nothing is removed without --yes');
    expect((await pars('list', '--store', url)).stdout).toContain(manifest.snapshot);
    await pars(...named, '--yes');
    expect(await pars('list', '--store', url)).toMatchObject({ exitCode: 0, stdout: 'No snapshots.\n' });
  });

  it('takes the store from the configuration', async () => {
    const config = join(directory, 'pars.yaml');
    writeFileSync(config, `store: ${url}\n`);
    expect((await pars('list', '--config', config)).stdout).toContain(manifest.snapshot);
    writeFileSync(config, `store: ${url}\nstroe: x\n`);
    expect(await pars('list', '--config', config)).toMatchObject({
      exitCode: EXIT_CODES.usage,
      stderr: expect.stringContaining(`${config}:2:1: stroe: unknown key`) as string,
    });
  });

  it("rm refuses another host's snapshot, and removes it when its owner is named (R27)", async () => {
    const refused = await pars('rm', manifest.snapshot, '--store', url, '--force');
    expect(refused).toMatchObject({
      exitCode: EXIT_CODES.refused,
      stderr: expect.stringContaining('belongs to another host: host-b') as string,
    });
    const removed = await pars(
      'rm',
      manifest.snapshot,
      '--store',
      url,
      '--force',
      '--owner',
      manifest.owner.machineId,
      '--yes',
      '--json',
    );
    expect(removed.exitCode).toBe(0);
    expect(JSON.parse(removed.stdout)).toEqual({ removed: manifest.snapshot });
    expect(await fixture.store.list('')).toEqual([]);
    expect((await pars('rm', manifest.snapshot, '--store', url)).exitCode).toBe(EXIT_CODES.missing);
  });
});
