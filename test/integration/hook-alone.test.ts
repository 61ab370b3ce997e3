// SPDX-License-Identifier: Apache-2.0
/**
 * The installed hook with the real program, where what it stands on has gone bad: STATE that cannot be
 * written, a program that may not be run. A guest that has no stub is started as if there were no hook; one
 * that has is refilled, or refused with a sentence. Mounts in a namespace of the test's own: needs root;
 * needs no libvirt.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { installProgram } from '../../src/install/program-copy.js';
import { shellWord } from '../../src/system/shell-word.js';
import { domainXml, smallImage, STUB_MAGIC, UUID } from '../support/image-builder.js';

const possible = spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0;
if (!possible) {
  if (process.env['CI']) throw new Error('tests of mounts need root and unshare');
  console.warn('SKIPPED: the hook on bad mounts, because this is not root, or mounts are not allowed');
}

const OTHER = `99999999${UUID.slice(8)}`;

describe.skipIf(!possible)('the hook that is left alone', () => {
  let root: string;
  let program: string;

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'pars-alone-'));
    program = (await installProgram(join(root, 'program'))).directory;
    for (const name of ['saves', 'd1', 'd2', 'd3', 'scratch']) mkdirSync(join(root, name));
    const stores = ['d1', 'd2', 'd3'].map((name) => join(root, name)).join(',');
    writeFileSync(
      join(root, 'pars.yaml'),
      `store: local:${stores}\nstate_dir: ${root}/state\nhook:\n  wait_for_store: 1s\n`,
    );
    pars('store', 'init', '--allow-same-device');
    writeFileSync(join(root, 'hook'), hookText(), { mode: 0o755 });
    writeFileSync(join(root, 'xml'), `<domain>\n<name>g</name>\n<uuid>${UUID}</uuid>\n</domain>\n`);
    writeFileSync(join(root, 'other.xml'), `<domain>\n<name>o</name>\n<uuid>${OTHER}</uuid>\n</domain>\n`);
    writeFileSync(join(root, 'saves/g.save'), smallImage().bytes);
    writeFileSync(join(root, 'saves/o.save'), smallImage({ xml: domainXml({ uuid: OTHER }) }).bytes);
    pars('offload', '--managed-save', join(root, 'saves/g.save'));
    cpSync(join(root, 'state'), join(root, 'state.before'), { recursive: true });
    cpSync(join(root, 'saves/g.save'), join(root, 'stub'));
  }, 180_000);
  afterAll(() => root && rmSync(root, { recursive: true, force: true }));

  function pars(...args: string[]): void {
    execFileSync(process.execPath, ['dist/cli.js', ...args, '--config', join(root, 'pars.yaml')]);
  }

  function hookText(): string {
    const values: Record<string, string> = {
      NODE: join(program, 'bin/node'),
      PROGRAM: join(program, 'dist/cli.js'),
      READER: join(program, 'build/Release/pars-reader'),
      STATE: join(root, 'state'),
      SAVES: join(root, 'none'),
    };
    return readFileSync('hooks/qemu', 'utf8').replace(/@([A-Z]+)@/g, (_, key: string) =>
      key === 'OPTIONS' ? `--config ${shellWord(join(root, 'pars.yaml'))}` : shellWord(values[key] ?? ''),
    );
  }

  interface Start {
    code: number | null;
    said: string;
    image: Buffer | null;
  }

  /** As libvirt starts a guest: the image is open, and the three operations come one after the other. */
  function start(broken: string, image: 'stub' | 'whole' | 'none'): Start {
    const [file, xml] = image === 'whole' ? ['o', 'other.xml'] : ['g', 'xml'];
    const path = join(root, 'saves', `${file}.save`);
    cpSync(join(root, 'stub'), join(root, 'saves/g.save'));
    rmSync(join(root, 'state'), { recursive: true });
    cpSync(join(root, 'state.before'), join(root, 'state'), { recursive: true });
    const step = (operation: string): string => `./hook guest ${operation} - <${xml} || exit 1`;
    const script = [
      `cd ${shellWord(root)} && ${broken}`,
      'PATH=$PWD/scratch:$PATH',
      image === 'none'
        ? step('prepare begin')
        : `exec 7<${shellWord(path)}; ${step('restore begin')}; ${step('prepare begin')}`,
      step('started begin'),
      step('stopped end'),
    ].join('\n');
    const { status, stderr } = spawnSync('unshare', ['--mount', 'sh', '-c', script], { encoding: 'utf8' });
    return { code: status, said: stderr, image: image === 'none' ? null : readFileSync(path) };
  }

  const STATES: [string, string][] = [
    ['as it should be', 'true'],
    ['read-only', 'mount --bind state state && mount -o remount,bind,ro state'],
    [
      'full',
      'mount -t tmpfs -o size=256k t state && cp -r state.before/. state; dd if=/dev/zero of=state/fill '
        + '2>/dev/null; true',
    ],
    [
      'out of inodes',
      'mount -t tmpfs -o nr_inodes=40 t state && cp -r state.before/. state; i=0; while true 2>/dev/null '
        + '>state/$i; do i=$((i+1)); [ $i -lt 99 ] || break; done; true',
    ],
    ['hidden', 'mount -t tmpfs t state'],
    ['a file', 'rm -r state && touch state'],
  ];

  describe.each(STATES)('with STATE %s', (_, broken) => {
    it('refills a stub and starts its guest', () => {
      const { code, said, image } = start(broken, 'stub');
      expect({ code, said }).toEqual({ code: 0, said: '' });
      expect(image?.equals(readFileSync(join(root, 'stub')))).toBe(false);
      expect(image?.includes(STUB_MAGIC)).toBe(false);
    });

    it.each(['whole', 'none'] as const)('starts a guest whose save is %s', (kind) => {
      const { code, said, image } = start(broken, kind);
      expect({ code, said }).toEqual({ code: 0, said: '' });
      if (image !== null)
        expect(image.equals(smallImage({ xml: domainXml({ uuid: OTHER }) }).bytes)).toBe(true);
    });
  });

  const PROGRAMS: [string, string][] = [
    [
      'on a file system that executes nothing',
      'mount --bind program program && mount -o remount,bind,noexec program',
    ],
    ['without its runtime', 'mount -t tmpfs t program/*/bin'],
    ['without its modules', 'mount -t tmpfs t program/*/node_modules'],
    ['gone', 'mount -t tmpfs t program'],
  ];

  describe.each(PROGRAMS)('with a program %s', (_, broken) => {
    it('refuses a stub, says that the memory is safe, and leaves the stub as it was', () => {
      const { code, said, image } = start(broken, 'stub');
      expect(code).toBe(1);
      expect(said).toMatch(
        new RegExp(`^pars: .*safe in the store as ${UUID}/.*do not discard.*hooks install`, 's'),
      );
      expect(image?.equals(readFileSync(join(root, 'stub')))).toBe(true);
    });

    it.each(['whole', 'none'] as const)('starts a guest whose save is %s', (kind) => {
      expect(start(broken, kind)).toMatchObject({ code: 0, said: '' });
    });
  });
});
