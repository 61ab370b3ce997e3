// SPDX-License-Identifier: Apache-2.0
/** `pars init` before it comes to a real libvirt: what it writes, and what it leaves alone. */
import { chmod, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { configurationText, writeConfiguration } from '../../src/install/configuration.js';
import { emptyDisks } from '../../src/install/empty-disks.js';
import { keysBelow, parseConfigFile } from '../../src/policy/config-file.js';
import { type Config, loadConfig } from '../../src/policy/config.js';
import { runPars } from '../support/run-pars.js';

const STORE = 'local:/srv/d1,/srv/d2,/srv/d3';

let root: string;
let file: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pars-init-'));
  file = join(root, 'etc', 'pars.yaml');
});
afterEach(() => rm(root, { recursive: true }));

async function there(text: string): Promise<void> {
  await mkdir(join(root, 'etc'), { recursive: true });
  await writeFile(file, text);
}

/** The template, with its comments that are keys made keys. */
async function uncommented(): Promise<string> {
  return (await readFile('contrib/debian/pars.yaml', 'utf8')).replace(/^#(?! \S)/gm, '');
}

/** What has no default, where the template can but give an example. */
function withoutExamples(config: Config): unknown {
  return {
    ...config,
    file: null,
    store: null,
    metricsFile: null,
    watch: [],
    queue: { ...config.queue, bandwidth: null },
    wake: { ...config.wake, bandwidth: null },
    checkpoints: { ...config.checkpoints, keepLast: null, maxAgeMs: null },
    retention: { ...config.retention, keepLast: null, maxAgeMs: null },
  };
}

describe('the configuration that init writes', () => {
  it('says store and policy, and all other keys as comments', async () => {
    expect(await writeConfiguration(file, { store: STORE, policy: 'minimal' })).toBe(true);
    const text = await readFile(file, 'utf8');
    expect(text).toMatch(/^store: local:\/srv\/d1,\/srv\/d2,\/srv\/d3$/m);
    expect(text).toMatch(/^# Copies of critical pages[^]*^policy: minimal$/m);
    expect(text).toMatch(/^#queue:$/m);
    expect(await loadConfig({ config: file })).toMatchObject({ store: STORE, policy: { name: 'minimal' } });
    expect((await stat(file)).mode & 0o777).toBe(0o644);
    expect(await writeConfiguration(file, { store: STORE, policy: 'minimal' })).toBe(false);
    expect(await readFile(file, 'utf8')).toBe(text);
  });

  it('has every key of the template in a form that holds once it is no comment', async () => {
    await there(await uncommented());
    expect(await loadConfig({ config: file })).toMatchObject({
      store: STORE,
      retention: { consumedMs: 604_800_000 },
    });
  });

  it('has every key that there is, with its default where it has one', async () => {
    const text = await uncommented();
    const said = parseConfigFile(text, file).values as Record<string, unknown>;
    for (const key of keysBelow([]) ?? []) {
      expect(Object.keys(said)).toContain(key);
      if (key === 'policy') continue; // A name there: what a map of it may say is another matter.
      for (const below of keysBelow([key]) ?? [])
        expect(Object.keys(said[key] as object), key).toContain(below);
    }
    await there(text);
    expect(withoutExamples(await loadConfig({ config: file }))).toEqual(
      withoutExamples(await loadConfig({}, join(root, 'none.yaml'))),
    );
  });

  it.each([
    ['queue:\n  concurrency: 1', 'queue:\n  concurrency: 1\nstore: s\npolicy: pars\n'],
    ['# mine\n#store: x\nwatch: [/srv/a]\n', '# mine\nstore: s\nwatch: [/srv/a]\npolicy: pars\n'],
    ['policy: pars\n', 'policy: pars\nstore: s\n'],
    ['', 'store: s\npolicy: pars\n'],
  ])('completes %j', async (old, text) => {
    await there(old);
    expect(await configurationText(file, { store: 's', policy: 'pars' })).toBe(text);
  });

  it('keeps mode and place of a file that is there', async () => {
    await there('queue:\n  concurrency: 1\n');
    await chmod(file, 0o600);
    const link = join(root, 'link.yaml');
    await symlink(file, link);
    await writeConfiguration(link, { store: STORE });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readFile(file, 'utf8')).toContain(`store: ${STORE}\n`);
  });

  it.each([
    ['store: local:/a,/b,/c\n', /names another store: local:\/a,\/b,\/c/],
    [`store: ${STORE}\npolicy: lean\n`, /names another policy: lean/],
    ['policy: {base: lean, critical: rs-3-2}\n', /names another policy: one of its own/],
    ['{queue: {concurrency: 1}}\n', /takes no further line/],
    ['queue:\n  concurrency: 1\n...\n', /takes no further line/],
    ['qeueu: 1\n', /unknown key/],
  ])('refuses to change %j', async (old, message) => {
    await there(old);
    await expect(writeConfiguration(file, { store: STORE, policy: 'pars' })).rejects.toThrow(message);
    expect(await readFile(file, 'utf8')).toBe(old);
  });

  it('takes a URL with whatever YAML would read otherwise', async () => {
    const store = 'local:/srv/a: b,/srv/c #d';
    await writeConfiguration(file, { store });
    expect((await loadConfig({ config: file })).store).toBe(store);
  });
});

describe('pars init', () => {
  it('needs a store when nobody can be asked', async () => {
    expect(await runPars('init', '--config', file)).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/which store[^]*pars init --store local:/) as string,
    });
  });

  it('changes nothing when it is stopped by what is there', async () => {
    await there('store: local:/a,/b,/c\n');
    const disks = ['d1', 'd2', 'd3'].map((name) => join(root, name));
    for (const disk of disks) await mkdir(disk);
    const answer = await runPars('init', '--config', file, '--store', `local:${disks.join(',')}`, '--force');
    expect(answer).toMatchObject({ exitCode: 3, stdout: '' });
    await expect(stat(join(disks[0]!, 'pars-store.json'))).rejects.toThrow(/ENOENT/);
  });
});

describe('disks to suggest', () => {
  it('are mounted, empty, and not the one of the system', async () => {
    const info = join(root, 'mountinfo');
    const line = (point: string, type: string, options = 'rw'): string =>
      `36 35 98:0 / ${point} ${options},noatime shared:1 - ${type} /dev/x rw\n`;
    await writeFile(info, line('/', 'ext4') + line('/dev/shm', 'tmpfs') + line('/nowhere', 'ext4'));
    expect(await emptyDisks(info)).toEqual([]);
  });
});
