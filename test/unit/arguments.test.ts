// SPDX-License-Identifier: Apache-2.0
/** What people type: options before the command, slips of the finger, and beginnings of names. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/errors.js';
import { normalised } from '../../src/program/arguments.js';
import { MANIFEST_NAME, objectPath } from '../../src/snapshot/snapshots.js';
import { encodeManifest } from '../../src/snapshot/manifest-codec.js';
import { nearest } from '../../src/system/nearest.js';
import { version } from '../../src/version.js';
import { put } from '../contract/store.js';
import { localFixture } from '../support/local-store.js';
import { EVIL_NAME, GUEST, sampleManifest } from '../support/manifests.js';
import { runPars as pars } from '../support/run-pars.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pars-arguments-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('options before the command', () => {
  it.each([
    ['--config F status', 'status --config F'],
    ['--config=F -q --json status x', 'status --config=F -q --json x'],
    ['--json store --store S init --force', 'store init --json --store S --force'],
    ['store --json help init', 'store init --help'],
    ['--json help list', 'list --help'],
    ['--bogus status', '--bogus status'],
    ['status --json', 'status --json'],
    ['--json', '--json'],
    ['show -- --json', 'show -- --json'],
    ['help', '--help'],
    ['-v', '--version'],
    ['version', '--version'],
  ])('%j is %j', (typed, meant) => {
    expect(normalised(typed.split(' '))).toEqual(meant.split(' '));
  });

  it('are taken for what they are after it', async () => {
    const config = join(directory, 'pars.yaml');
    writeFileSync(config, 'store: ftp://x\n');
    expect(await pars('--config', config, '--json', 'list')).toMatchObject({
      exitCode: EXIT_CODES.usage,
      stdout: expect.stringContaining('ftp://x') as string,
    });
  });
});

describe('slips of the finger', () => {
  it.each([
    [['help', 'stroe'], /unknown command 'stroe'\n +Did you mean store\?/],
    [['help', 'store', 'int'], /Did you mean store init\?/],
    [['help', 'xyzzy'], /see: pars --help/],
    [['stroe', 'init'], /unknown command 'stroe'\n +Did you mean store\?/],
    [['store', 'int'], /Did you mean init\?/],
  ])('%j is told what was meant', async (argv, message) => {
    expect(await pars(...argv)).toMatchObject({
      exitCode: EXIT_CODES.usage,
      stderr: expect.stringMatching(message) as string,
    });
  });

  it('are near the word that was meant, and to nothing else', () => {
    const words = ['store', 'policy', 'queue', 'watch'];
    expect(['stroe', 'polciy', 'queu', 'wach', 'zzzzz', ''].map((typed) => nearest(typed, words))).toEqual([
      'store',
      'policy',
      'queue',
      'watch',
      null,
      null,
    ]);
  });

  it.each([
    ['stroe: x\n', 'stroe: unknown key', 'did you mean store?'],
    ['queue: {bandwith: 1M}\n', 'queue.bandwith: unknown key', 'did you mean queue.bandwidth?'],
    ['keep_last: 3\n', 'keep_last: unknown key', 'did you mean retention.keep_last?'],
    ['policy: {clases: {}}\n', 'policy.clases: unknown key', 'did you mean policy.classes?'],
    ['policy: {classes: {fre: 1}}\n', 'policy.classes.fre: unknown key', 'did you mean policy.classes.free?'],
    ['hook: {zzzzzz: 1}\n', 'hook.zzzzzz: unknown key', 'keys of hook: deadline, wait_for_store'],
    ['queue: {overdue: soon}\n', 'queue.overdue: expected a duration', undefined],
  ])('of the configuration are named alone: %j', async (yaml, message, hint) => {
    const config = join(directory, 'pars.yaml');
    writeFileSync(config, yaml);
    const { exitCode, stderr } = await pars('list', '--config', config);
    expect(exitCode).toBe(EXIT_CODES.usage);
    expect(stderr).toContain(message);
    expect(stderr.trimEnd().split('\n')).toHaveLength(hint === undefined ? 1 : 2);
    if (hint !== undefined) expect(stderr).toContain(hint);
  });
});

describe('pars --version', () => {
  it.each([['-v'], ['--version'], ['version']])('%s says how it came here', async (word) => {
    expect(await pars(word)).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(new RegExp(`^${version()} \\(built from source in /.*\\)\\n$`)) as string,
    });
  });
});

describe('what is not there', () => {
  it('is said of a directory without managed saves, by a code of its own', async () => {
    expect(await pars('report', directory, '--store', 'local:/none')).toMatchObject({
      exitCode: EXIT_CODES.missing,
      stdout: '',
      stderr: expect.stringMatching(/holds no managed save \(\*\.save\)\n +name the image itself/) as string,
    });
  });

  it('is said of the beginning of a name that fits several, each with its date and guest', async () => {
    const fixture = await localFixture();
    const names = [`${GUEST}/20261123T093000Z-0123abcd`, `${GUEST}/20261124T093000Z-0123abcd`];
    for (const snapshot of names) {
      const manifest = sampleManifest({
        snapshot,
        created: `2026-11-2${names.indexOf(snapshot) + 3}T09:30:00.000Z`,
      });
      await put(fixture.store, objectPath(snapshot, MANIFEST_NAME), encodeManifest(manifest), 3);
    }
    const call = [
      'restore',
      GUEST.slice(0, 8),
      '--to',
      join(directory, 'out'),
      '--store',
      `local:${fixture.path}`,
    ];
    const { exitCode, stderr } = await pars(...call);
    await fixture.dispose();
    expect(exitCode).toBe(EXIT_CODES.usage);
    expect(stderr).toContain('fits 2 snapshots');
    for (const [i, name] of names.entries())
      expect(stderr).toContain(`${name}  2026-11-2${i + 3}T09:30:00.000Z  ${EVIL_NAME}`);
  });
});
