// SPDX-License-Identifier: Apache-2.0
/**
 * The metrics file: what the program itself writes, judged by promtool, and the alerts and the dashboard that
 * go by it. Needs promtool (scripts/install-deps --tests).
 */
import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { countFailure, countHydrate, readLedger } from '../../src/journal/ledger.js';
import { domainXml, smallImage, UUID } from '../support/image-builder.js';
import { type LocalFixture, localFixture } from '../support/local-store.js';
import { runPars } from '../support/run-pars.js';

const promtool = spawnSync('promtool', ['--version']).status === 0;
if (!promtool && process.env['CI']) throw new Error('promtool is not there: scripts/install-deps --tests');

let fixture: LocalFixture;
let root: string;
let file: string;
let image: string;

beforeEach(async () => {
  fixture = await localFixture();
  root = mkdtempSync(join(tmpdir(), 'pars-metrics-'));
  for (const name of ['saves', 'state', 'textfile']) mkdirSync(join(root, name));
  file = join(root, 'textfile', 'pars.prom');
  image = join(root, 'saves', 'g.save');
  writeFileSync(
    join(root, 'pars.yaml'),
    `store: local:${fixture.path}\npolicy: pars\nstate_dir: ${root}/state\nmetrics:\n  file: ${file}\n`,
  );
});
afterEach(async () => {
  rmSync(root, { recursive: true, force: true });
  await fixture.dispose();
});

const pars = async (...argv: string[]): Promise<number> =>
  (await runPars(...argv, '--config', join(root, 'pars.yaml'))).exitCode;

function save(name = 'g'): void {
  writeFileSync(image, smallImage({ xml: domainXml({ name }) }).bytes);
}

/** The value of the sample that begins so; undefined when there is none. */
function value(sample: string): number | undefined {
  const line = readFileSync(file, 'utf8')
    .split('\n')
    .find((one) => one.startsWith(`${sample} `));
  return line === undefined ? undefined : Number(line.slice(sample.length));
}

function check(text: string): void {
  if (!promtool) return;
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
    input: text,
    encoding: 'utf8',
  });
  expect({ status, said: `${stdout}${stderr}` }).toEqual({ status: 0, said: '' });
}

const pending = (): Promise<number> => pars('offload', '--pending', '--save-dir', join(root, 'saves'));

describe('the metrics file', () => {
  it('tells of an offload, of a failure, and of the success after it', async () => {
    save('a "guest" \\ with & name');
    for (const directory of fixture.directories) renameSync(directory, `${directory}.away`);
    expect(await pending()).not.toBe(0);
    check(readFileSync(file, 'utf8'));
    expect([value('pars_store_up'), value('pars_images_due'), value('pars_store_free_bytes')]).toEqual([
      0,
      1,
      undefined,
    ]);
    for (const directory of fixture.directories) renameSync(`${directory}.away`, directory);
    expect(await pending()).toBe(0);
    check(readFileSync(file, 'utf8'));
    const labels = `{guest="a \\"guest\\" \\\\ with & name",uuid="${UUID}"}`;
    expect([value('pars_store_up'), value('pars_images_due'), value('pars_stubs')]).toEqual([1, 0, 1]);
    expect([value(`pars_offloads_total${labels}`), value('pars_snapshots{state="stubbed"}')]).toEqual([1, 1]);
    expect(value(`pars_offload_last_image_bytes${labels}`)).toBe(statSync(image).size);
    expect(value(`pars_offload_last_stored_bytes${labels}`)).toBeGreaterThan(0);
    expect(
      Date.now() / 1000 - (value(`pars_offload_last_success_timestamp_seconds${labels}`) ?? 0),
    ).toBeLessThan(60);
    expect(statSync(file).mode & 0o777).toBe(0o644);
  }, 60_000);

  it('counts a failed hydration by its kind, and a made-good one', async () => {
    save();
    await pending();
    for (const directory of fixture.directories) renameSync(directory, `${directory}.away`);
    expect(await pars('hydrate', image)).toBe(6);
    expect([
      value('pars_failures_total{work="hydrate",kind="unreachable"}'),
      value('pars_jobs_failed{work="hydrate"}'),
    ]).toEqual([1, 1]);
    for (const directory of fixture.directories) renameSync(`${directory}.away`, directory);
    expect(await pars('hydrate', image)).toBe(0);
    expect([
      value('pars_failures_total{work="hydrate",kind="unreachable"}'),
      value('pars_jobs_failed{work="hydrate"}'),
    ]).toEqual([1, 0]);
    expect(value(`pars_hydrates_total{guest="g",uuid="${UUID}"}`)).toBe(1);
    check(readFileSync(file, 'utf8'));
  }, 60_000);

  it('holds every metric that the alerts and the dashboard go by', async () => {
    save();
    await pending();
    await countHydrate(
      join(root, 'state'),
      { uuid: UUID, name: 'g' },
      { time: new Date().toISOString(), seconds: 1, imageBytes: 1 },
    );
    writeFileSync(
      join(root, 'saves', 'h.save'),
      smallImage({ xml: domainXml({ uuid: `99999999${UUID.slice(8)}` }) }).bytes,
    );
    expect(await pars('metrics', '--write', '--save-dir', join(root, 'saves'))).toBe(0);
    const written = new Set(readFileSync(file, 'utf8').match(/^pars_\w+/gm));
    for (const user of ['contrib/prometheus/pars-alerts.yml', 'contrib/grafana/pars.json']) {
      const used = readFileSync(user, 'utf8').match(/\bpars_[a-z_]+/g) ?? [];
      expect(used.length).toBeGreaterThan(5);
      expect(
        used.filter((name) => !written.has(name)),
        user,
      ).toEqual([]);
    }
  }, 60_000);

  it.skipIf(!promtool)('has alerts that promtool accepts and that fire when they should', () => {
    const test = (...args: string[]): ReturnType<typeof spawnSync> =>
      spawnSync('promtool', args, { cwd: resolve('contrib/prometheus'), encoding: 'utf8' });
    expect(test('check', 'rules', 'pars-alerts.yml').status).toBe(0);
    const { status, stdout } = test('test', 'rules', 'pars-alerts.test.yml');
    expect({ status, stdout }).toMatchObject({ status: 0 });
  });

  it('is not made where the collector has no directory, and that stops nothing', async () => {
    save();
    rmSync(join(root, 'textfile'), { recursive: true });
    expect(await pending()).toBe(0);
  }, 30_000);
});

describe('the ledger', () => {
  it('loses no count when several processes count at once', async () => {
    const state = join(root, 'state');
    await countFailure(state, 'offload', 'busy');
    const script =
      `const { countFailure } = await `
      + `import(${JSON.stringify(resolve('dist/journal/ledger.js'))}); for (let i = 0; i < 5; i++) await `
      + `countFailure(${JSON.stringify(state)}, 'offload', 'busy');`;
    const counting = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    for (let i = 0; i < 5; i++) await countFailure(state, 'offload', 'busy');
    await counting;
    expect((await readLedger(state)).failures.offload.busy).toBe(11);
  }, 30_000);
});
