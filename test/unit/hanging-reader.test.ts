// SPDX-License-Identifier: Apache-2.0
/**
 * One image whose reader hangs, beside one that is as it should be: what looks at all of them says so of the
 * one and goes on with the other (docs/security.md).
 */
import type * as ChildProcessModule from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type * as PatienceModule from '../../src/reader/patience.js';
import type { HostStatus } from '../../src/status/host-status.js';
import { domainXml, smallImage, UUID } from '../support/image-builder.js';
import { type LocalFixture, localFixture } from '../support/local-store.js';
import { type Ran, runPars } from '../support/run-pars.js';
import type * as TakenOver from '../support/taken-over.js';
import { buildFakeReader } from '../support/taken-over.js';

vi.mock('node:child_process', async (original) => {
  const { withTakenOver } = await vi.importActual<typeof TakenOver>('../support/taken-over.js');
  const planFor = (image: string): TakenOver.FakePlan | null =>
    image.endsWith('hostile.save') ? { hangIn: true } : null;
  return withTakenOver(await original<typeof ChildProcessModule>(), planFor);
});

/** Less than the ten seconds that taken-over.test.ts waits for: each command here has to wait again. */
vi.mock('../../src/reader/patience.js', async (original) => ({
  ...(await original<typeof PatienceModule>()),
  patienceMs: () => 3000,
}));

const REFUSED = 3,
  BUSY = 8;
/** For a wait for a reader, and what is done beside it on a busy machine. */
const ONE_WAIT_MS = 60_000;

let fixture: LocalFixture;
let root: string;
let hostile: string;
let good: string;
beforeAll(buildFakeReader);
beforeEach(async () => {
  fixture = await localFixture();
  root = mkdtempSync(join(tmpdir(), 'pars-hanging-'));
  for (const name of ['saves', 'state']) mkdirSync(join(root, name), { mode: 0o700 });
  writeFileSync(join(root, 'pars.yaml'), `store: local:${fixture.path}\nstate_dir: ${root}/state\n`);
  hostile = save('hostile', UUID);
  good = save('good', UUID.replace('0', '1'));
});
afterEach(async () => {
  rmSync(root, { recursive: true, force: true });
  await fixture.dispose();
});

function save(name: string, uuid: string): string {
  const path = join(root, 'saves', `${name}.save`);
  writeFileSync(path, smallImage({ xml: domainXml({ name, uuid }), frames: 2000 }).bytes);
  return path;
}

async function timed(...argv: string[]): Promise<Ran & { ms: number }> {
  const began = Date.now();
  const places = ['--save-dir', join(root, 'saves'), '--config', join(root, 'pars.yaml')];
  const ran = await runPars(...argv, ...places);
  return { ...ran, ms: Date.now() - began };
}

describe('a reader that hangs on one image (row 2)', () => {
  it('leaves "pars status" with the rest, and with an error', async () => {
    const { stdout, exitCode, ms } = await timed('status', '--json');
    const { due, blindSpots } = JSON.parse(stdout) as HostStatus;
    expect(exitCode).toBe(REFUSED);
    expect(due.map(({ image }) => image)).toEqual([good]);
    expect(blindSpots.map(({ message }) => message)).toEqual([expect.stringContaining(basename(hostile))]);
    expect(ms).toBeLessThan(ONE_WAIT_MS);
  });

  it('leaves "pars metrics" with the rest', async () => {
    const { stdout, exitCode, ms } = await timed('metrics');
    expect(exitCode).toBe(0);
    expect(stdout).toContain('pars_images_due 1\n');
    expect(stdout).toMatch(/pars_blind_spots\S* 1\n/);
    expect(ms).toBeLessThan(ONE_WAIT_MS);
  });

  it.each([
    ['drain', ['drain', '--json'], BUSY],
    ['offload --pending', ['offload', '--pending', '--json'], BUSY],
  ])('is passed over by "pars %s"', async (_, argv, expected) => {
    const before = readFileSync(hostile);
    const { stdout, exitCode, ms } = await timed(...argv);
    const { offloaded, left } = JSON.parse(stdout) as { offloaded: string[]; left: { image: string }[] };
    expect(offloaded).toEqual([good]);
    expect(left.map(({ image }) => image)).toEqual([hostile]);
    expect(exitCode).toBe(expected);
    expect(readFileSync(hostile).equals(before)).toBe(true);
    expect(ms).toBeLessThan(2 * ONE_WAIT_MS);
  });
});
