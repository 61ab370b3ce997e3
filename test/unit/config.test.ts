// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/policy/config.js';
import { ParsError } from '../../src/errors.js';
import { presetPolicy } from '../../src/policy/policy.js';

let directory: string;
let file: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pars-config-'));
  file = join(directory, 'pars.yaml');
});
afterEach(() => rmSync(directory, { recursive: true }));

function load(yaml: string): ReturnType<typeof loadConfig> {
  writeFileSync(file, yaml);
  return loadConfig({ config: file });
}

async function complaint(yaml: string): Promise<ParsError> {
  const error = await load(yaml).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ParsError);
  return error as ParsError;
}

const DEFAULTS = {
  file: null,
  store: null,
  policy: presetPolicy('lean'),
  diskReferences: true,
  hook: { deadlineMs: 600_000, waitForStoreMs: 60_000 },
  retention: {
    automatic: true,
    keepLast: null,
    maxAgeMs: null,
    consumedMs: 604_800_000,
    orphanGraceMs: 604_800_000,
  },
  queue: {
    concurrency: 2,
    bandwidth: null,
    freeSpaceFloor: { share: 0.1 },
    settleMs: 60_000,
    overdueMs: 3_600_000,
  },
  checkpoints: { directory: '/var/lib/libvirt/pars-checkpoints', keepLast: null, maxAgeMs: null },
  wake: { bandwidth: null, settleMs: 3_600_000 },
  watch: [],
  acceptUncomparedDisks: false,
  metricsFile: null,
  stateDir: '/var/lib/pars',
};

describe('the configuration', () => {
  it('has defaults when the default file is not there', async () => {
    expect(await loadConfig({}, join(directory, 'none.yaml'))).toEqual(DEFAULTS);
  });

  it('is an error when a file was named that is not there', async () => {
    await expect(loadConfig({ config: file })).rejects.toMatchObject({
      kind: 'usage',
      message: expect.stringContaining(file) as string,
    });
  });

  it('is read', async () => {
    const yaml =
      'store: local:/a,/b\npolicy: minimal\nhook:\n  deadline: 5m\n  wait_for_store: 90s\nstate_dir: '
      + '/srv/state\n';
    expect(await load(yaml)).toEqual({
      ...DEFAULTS,
      file,
      store: 'local:/a,/b',
      policy: presetPolicy('minimal'),
      hook: { deadlineMs: 300_000, waitForStoreMs: 90_000 },
      stateDir: '/srv/state',
    });
  });

  it('says whether disks that nobody can compare are accepted', async () => {
    expect((await load('disks:\n  accept_uncompared: true\n')).acceptUncomparedDisks).toBe(true);
    await expect(load('disks:\n  accept_uncompared: maybe\n')).rejects.toThrow(
      /disks.accept_uncompared: expected true/,
    );
  });

  it('says whether what the disks hold may stay there alone', async () => {
    expect((await load('disk_references: off\n')).diskReferences).toBe(false);
    expect((await load('disk_references: auto\n')).diskReferences).toBe(true);
    expect((await complaint('disk_references: no\n')).message).toContain('expected auto or off');
  });

  it('says how guests are woken', async () => {
    expect((await load('wake: { bandwidth: 200M, settle: 5m }\n')).wake).toEqual({
      bandwidth: 200 << 20,
      settleMs: 300_000,
    });
    expect((await complaint('wake: { settle: soon }\n')).message).toContain('expected a duration');
  });

  it('says how the queue is worked off', async () => {
    const yaml =
      'queue:\n  concurrency: 4\n  bandwidth: 200M\n  free_space_floor: 50G\n  settle: 5s\n  overdue: 2h\n';
    expect((await load(yaml)).queue).toEqual({
      concurrency: 4,
      bandwidth: 200 << 20,
      freeSpaceFloor: { bytes: 50 * 2 ** 30 },
      settleMs: 5000,
      overdueMs: 7_200_000,
    });
    expect((await load('queue:\n  free_space_floor: 25%\n')).queue.freeSpaceFloor).toEqual({ share: 0.25 });
    expect((await complaint('queue:\n  bandwidth: 200\n')).message).toContain(
      'pars.yaml:2:3: queue.bandwidth: expected a size',
    );
    expect((await complaint('queue:\n  concurrency: 0\n')).message).toContain('expected at least 1');
  });

  it('names directories to watch', async () => {
    expect((await load('watch: [/srv/saves, "/srv/*/mem"]\n')).watch).toEqual(['/srv/saves', '/srv/*/mem']);
    for (const path of ['saves', '/srv/../etc', '/srv/**/mem'])
      expect((await complaint(`watch:\n  - ${path}\n`)).message).toContain('expected a directory like');
    expect((await complaint('watch: /srv\n')).message).toContain('expected a list of directories');
  });

  it.each(['', '# nothing\n', '---\n'])('may say nothing: %j', async (yaml) => {
    expect((await load(yaml)).policy.name).toBe('lean');
  });

  it('can set every class', async () => {
    const { policy } = await load('policy:\n  base: pars\n  classes: {free: 0, clean-cache: 2, kernel: 4}\n');
    expect(policy).toMatchObject({
      name: 'custom',
      criticalCopies: 4,
      copies: { free: 0, 'clean-cache': 2, kernel: 4, anon: 3 },
    });
  });

  it('may name a value once and use it again', async () => {
    expect((await load('hook: {deadline: &long 30d}\nqueue: {overdue: *long}\n')).queue.overdueMs).toBe(
      30 * 86_400_000,
    );
  });

  it('gives way to the command line', async () => {
    writeFileSync(file, 'store: local:/a\npolicy: pars\n');
    expect(await loadConfig({ config: file, store: 'local:/b', policy: 'minimal' })).toMatchObject({
      store: 'local:/b',
      policy: { name: 'minimal' },
    });
    await expect(loadConfig({ config: file, policy: 'none' })).rejects.toMatchObject({ kind: 'usage' });
  });
});

describe('errors in the configuration name file, line, column and key', () => {
  it.each([
    ['unknown key', 'store: local:/a\nstroe: x\n', '2:1: stroe: unknown key'],
    ['unknown key further down', 'hook:\n  deadline: 1m\n  dedline: 2m\n', '3:3: hook.dedline: unknown key'],
    ['unknown class', 'policy:\n  classes:\n    fre: 0\n', '3:5: policy.classes.fre: unknown key'],
    ['wrong type', 'store: 5\n', '1:1: store: expected a URL'],
    ['unknown preset', '\npolicy: leen\n', '2:1: policy: expected one of replicate-all'],
    ['unknown base', 'policy:\n  base: leen\n', '2:3: policy.base: expected one of'],
    [
      'copies that are no number',
      'policy:\n  classes: {anon: many}\n',
      '2:13: policy.classes.anon: expected a number',
    ],
    ['copies below zero', 'policy:\n  classes: {anon: -1}\n', '2:13: policy.classes.anon:'],
    [
      'too many copies',
      'policy:\n  classes: {anon: 100}\n',
      '2:13: policy.classes.anon: expected at most 16',
    ],
    ['duration without unit', 'hook: {deadline: 10}\n', '1:8: hook.deadline: expected a duration'],
    ['unknown unit', 'hook: {deadline: 10y}\n', '1:8: hook.deadline: expected a duration'],
    ['relative directory', 'state_dir: var\n', '1:1: state_dir: expected an absolute path'],
    ['not a map', '- store\n', '1:1'],
    ['not YAML', 'store: [\n', '2:1'],
    [
      'an alias of nothing',
      'store: local:/a\npolicy: *mine\n',
      '2:9: Unresolved alias (the anchor must be set before the alias): mine',
    ],
    [
      'an alias before its anchor',
      'hook: {deadline: *d}\nqueue: {overdue: &d 1h}\n',
      '1:18: Unresolved alias',
    ],
    ['an alias of itself', 'hook: &h {deadline: *h}\n', '1:11: hook.deadline: expected a duration'],
    [
      'aliases that grow beyond measure',
      `a: &a [x, x, x, x, x, x, x, x, `
        + `x]\n${Array.from('bcdefghi', (name, i) => {
          const before = Array(9).fill(`*${'abcdefgh'[i]}`).join(', ');
          return `${name}: &${name} [${before}]\n`;
        }).join('')}`,
      '2:8: Excessive alias count',
    ],
    ['the same key twice', 'store: a\nstore: b\n', '2:1'],
  ])('%s', async (_, yaml, expected) => {
    const error = await complaint(yaml);
    expect(error.kind).toBe('usage');
    expect(error.message).toContain(`${file}:${expected}`);
  });

  it('names all of them at once', async () => {
    expect((await complaint('stroe: x\npolicy: leen\n')).message.split('\n')).toHaveLength(2);
  });

  it('refuses too few critical copies, and says where', async () => {
    const error = await complaint('store: local:/a\npolicy:\n  classes: {anon: 1}\n');
    expect(error).toMatchObject({
      kind: 'refused',
      message: expect.stringContaining(`${file}:2:1: policy: critical classes`) as string,
    });
    expect((await load('policy:\n  classes: {anon: 1}\n  force: true\n')).policy.copies.anon).toBe(1);
  });
});
