// SPDX-License-Identifier: Apache-2.0
/**
 * Images and stubs that are not where or what they should be: copied without holes, behind a symbolic link,
 * with two names, on a file system that lacks what a stub needs.
 */
import {
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { JobRecord, readJobs } from '../../src/journal/jobs.js';
import { native } from '../../src/native.js';
import { smallImage } from '../support/image-builder.js';
import { filesIn, type LocalFixture, localFixture } from '../support/local-store.js';
import { type Ran, runPars } from '../support/run-pars.js';

const [REFUSED, BUSY] = [3, 8];
const STUB_BYTES = 5 << 20;

let fixture: LocalFixture;
let root: string;
let saves: string;
let image: string;
let stateDir: string;

beforeEach(async () => {
  fixture = await localFixture();
  root = mkdtempSync(join(tmpdir(), 'pars-odd-files-'));
  saves = join(root, 'saves');
  stateDir = join(root, 'state');
  mkdirSync(saves);
  image = join(saves, 'g.save');
  writeFileSync(join(root, 'pars.yaml'), `store: local:${fixture.path}\nstate_dir: ${stateDir}\n`);
  writeFileSync(image, smallImage().bytes);
});
afterEach(async () => {
  vi.restoreAllMocks();
  rmSync(root, { recursive: true, force: true });
  await fixture.dispose();
});

const pars = (...argv: string[]): Promise<Ran> => runPars(...argv, '--config', join(root, 'pars.yaml'));
const onSaves = (...argv: string[]): Promise<Ran> => pars(...argv, '--save-dir', saves);
const parsed = ({ stdout }: Ran): unknown => JSON.parse(stdout);
const isWhole = (path: string): boolean => readFileSync(path).equals(smallImage().bytes);
const bytesOf = (path: string): number => statSync(path).blocks * 512;

describe('a stub that was copied without its holes', () => {
  beforeEach(async () => {
    await pars('offload', image);
    // As cp --sparse=never, or a backup that knows no holes, brings it back.
    writeFileSync(`${image}.copy`, readFileSync(image));
    renameSync(`${image}.copy`, image);
    expect(bytesOf(image)).toBeGreaterThan(16 << 20);
  });

  it('is shown as work to do, and punched again by the queue', async () => {
    expect((await onSaves('status')).stdout).toMatch(/g\.save .*takes the room of an image/);
    expect((await onSaves('offload', '--pending')).exitCode).toBe(0);
    expect(bytesOf(image)).toBeLessThan(STUB_BYTES);
    expect(parsed(await onSaves('status', '--json'))).toMatchObject({
      ok: true,
      due: [],
      stubs: [{ image }],
    });
    expect((await pars('hydrate', image)).exitCode).toBe(0);
  });

  it('is left alone while it is being refilled', async () => {
    const job = await JobRecord.begin(stateDir, 'hydrate', image);
    expect(parsed(await onSaves('status', '--json'))).toMatchObject({ due: [] });
    await job.succeed();
  });
});

describe('a save directory behind a symbolic link', () => {
  let link: string;
  beforeEach(() => {
    link = join(root, 'link');
    symlinkSync(saves, link);
  });

  it('has one job an image, whichever way it is reached', async () => {
    renameSync(join(fixture.root, 'd1'), join(fixture.root, 'away'));
    expect((await pars('offload', join(link, 'g.save'))).exitCode).not.toBe(0);
    renameSync(join(fixture.root, 'away'), join(fixture.root, 'd1'));
    expect((await pars('offload', image)).exitCode).toBe(0);
    expect(await readJobs(stateDir)).toMatchObject([{ image, kind: 'offload', state: 'done' }]);
    for (const directory of [link, saves])
      expect((await pars('status', '--save-dir', directory)).exitCode).toBe(0);
  });

  it('of which an earlier version kept a failure is all right once that was resolved', async () => {
    await pars('offload', image);
    const [done] = await readJobs(stateDir);
    const error = { kind: 'unreachable', message: 'away', hint: null };
    const failed = { ...done, image: join(link, 'g.save'), state: 'failed', began: '2026-01-01', error };
    writeFileSync(join(stateDir, 'jobs', 'offload-0123456789abcdef01234567.json'), JSON.stringify(failed));
    expect((await onSaves('status')).exitCode).toBe(0);
  });

  it('is worked off, and its saves are managed ones', async () => {
    const onLink = (...argv: string[]): Promise<Ran> => pars(...argv, '--save-dir', link);
    expect(parsed(await onLink('offload', '--pending', '--json'))).toMatchObject({ offloaded: [image] });
    expect(parsed(await onLink('status', '--json'))).toMatchObject({ stubs: [{ managedSave: true, image }] });
    expect(parsed(await onLink('wake', 'guest', '--json'))).toMatchObject({ image, hydrated: true });
  });
});

describe('an image with two names', () => {
  it('is refused with what to do, and stays whole under both', async () => {
    linkSync(image, join(root, 'backup'));
    const ran = await pars('offload', image);
    expect(ran).toMatchObject({ exitCode: REFUSED, stderr: expect.stringContaining('-samefile') as string });
    expect((await onSaves('status')).exitCode).toBe(REFUSED);
    expect(isWhole(join(root, 'backup'))).toBe(true);
  });

  it('is none for a copy that shares nothing', async () => {
    copyFileSync(image, join(root, 'backup'));
    expect((await pars('offload', image)).exitCode).toBe(0);
    expect(isWhole(join(root, 'backup'))).toBe(true);
  });
});

describe('a file system that lacks what a stub needs', () => {
  const failing = (code: string): Error => Object.assign(new Error(`${code}: not here`), { code });

  it.each<[string, RegExp, () => void]>([
    [
      'holes',
      /cannot punch holes/,
      () => void vi.spyOn(native(), 'punchHole').mockRejectedValue(failing('EOPNOTSUPP')),
    ],
    [
      'leases, as NFS',
      /grants no lease/,
      () =>
        void vi.spyOn(native(), 'takeWriteLease').mockImplementation(() => {
          throw failing('EINVAL');
        }),
    ],
    [
      'locks',
      /does not lock files/,
      () =>
        void vi.spyOn(native(), 'tryLock').mockImplementation(() => {
          throw failing('ENOLCK');
        }),
    ],
  ])('(%s) is refused before anything is stored', async (_, says, lack) => {
    lack();
    const ran = await pars('offload', image);
    expect(ran).toMatchObject({ exitCode: REFUSED, stderr: expect.stringMatching(says) as string });
    vi.restoreAllMocks();
    expect(isWhole(image)).toBe(true);
    expect((await filesIn(fixture.directories)).filter((name) => name.includes('pack'))).toEqual([]);
  });

  it('stores a copy beside the image all the same', async () => {
    vi.spyOn(native(), 'punchHole').mockRejectedValue(failing('EOPNOTSUPP'));
    expect((await pars('offload', '--keep-local', image)).exitCode).toBe(0);
  });

  it('does not let a stub that was copied there look as if all were well', async () => {
    await pars('offload', image);
    writeFileSync(`${image}.copy`, readFileSync(image));
    renameSync(`${image}.copy`, image);
    vi.spyOn(native(), 'punchHole').mockRejectedValue(failing('EOPNOTSUPP'));
    const ran = await onSaves('offload', '--pending');
    expect(ran).toMatchObject({ exitCode: BUSY, stderr: expect.stringContaining('punch holes') as string });
    vi.restoreAllMocks();
    expect((await pars('hydrate', image)).exitCode).toBe(0);
    expect(readFileSync(image).length).toBe(smallImage().bytes.length);
  });
});
