// SPDX-License-Identifier: Apache-2.0
/** The last lines of verify: whether everything can still be read, and the next command. */
import { rename, rm } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXIT_CODES, ParsError } from '../../src/errors.js';
import type { DiskHealth } from '../../src/health/disk-health.js';
import { type Verification, verifySnapshot } from '../../src/health/verify.js';
import { native } from '../../src/native.js';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { objectPath } from '../../src/snapshot/snapshots.js';
import { findSnapshot } from '../../src/snapshot/snapshots.js';
import { verifySummary } from '../../src/ui/verify-summary.js';
import { nodeFiles } from '../../src/stores/local/files.js';
import { copiesOf, flipByte, localFixture, type LocalFixture } from '../support/local-store.js';
import { type Ran, runPars } from '../support/run-pars.js';
import { storeSnapshot } from '../support/stored-snapshot.js';

let fixture: LocalFixture;
let manifest: Manifest;

beforeEach(async () => {
  fixture = await localFixture(nodeFiles, native());
  manifest = await storeSnapshot(fixture.store);
});
afterEach(() => fixture.dispose());

const files = (name: string): Promise<string[]> =>
  copiesOf(fixture.directories, objectPath(manifest.snapshot, name));
const verify = (...more: string[]): Promise<Ran> =>
  runPars('verify', ...more, '--store', `local:${fixture.path}`);

it('says that all is well', async () => {
  const { exitCode, stdout } = await verify();
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/\n1 of 1 snapshot intact\. All data is still readable\.\n$/);
});

it('says what a missing copy means, and how it is made again', async () => {
  await rm((await files('kernel.0'))[0]!);
  const { exitCode, stdout } = await verify(manifest.snapshot);
  expect(exitCode).toBe(EXIT_CODES.missing);
  expect(stdout).toMatch(
    /\n0 of 1 snapshot intact\. All data is still readable\.\nNext: pars verify --repair /,
  );
  expect(stdout).toContain(`pars verify --repair ${manifest.snapshot}`);
  expect((await verify('--repair')).stdout).toMatch(/\n1 of 1 snapshot intact\. [^\n]*\n$/);
});

it('claims nothing of what it did not read', async () => {
  await rm((await files('kernel.0'))[0]!);
  const { stdout } = await verify('--percent', '0');
  expect(stdout).toContain('All data that was read is still readable. Of what was not read only presence');
});

it('tells expendable pages that are gone from critical ones', async () => {
  for (const file of await files('clean-cache.0')) await rm(file);
  expect((await verify()).stdout).toMatch(
    /All critical data is still readable; 12 expendable pages are in no copy/,
  );
  for (const file of await files('kernel.0')) await flipByte(file, 20);
  const lost = await verify();
  expect(lost.exitCode).toBe(EXIT_CODES.lost);
  expect(lost.stdout).toMatch(/Critical data of 1 snapshot is in no copy[^]*Next: pars verify --repair/);
});

it('does not call lost what is only away', async () => {
  for (const directory of fixture.directories.slice(1)) await rename(directory, `${directory}-away`);
  await rm((await files('kernel.0'))[0]!);
  const { stdout } = await verify();
  expect(stdout).toMatch(
    /cannot be reached now; nothing of it is known to be lost\.\nNext: pars store status/,
  );
});

describe("of a snapshot that leaves pages to the guest's own disks", () => {
  /** All of it in the store is intact. */
  async function leaving(disks?: Partial<DiskHealth>): Promise<Verification[]> {
    const entry = await findSnapshot(fixture.store, manifest.snapshot);
    const options = { percent: 100, repair: false, host: null };
    const found = await verifySnapshot(fixture.store, entry, options);
    if (!found?.health) throw new Error('not verified');
    const references = { pages: 1200, classes: manifest.policy.copies };
    const health = { ...found.health, manifest: { ...found.health.manifest, references } };
    const whole = { pages: 1200, lostPages: 0, error: null, skipped: null };
    return [{ ...found, health, ...(disks && { disks: { ...whole, ...disks } }) }];
  }

  it('does not call readable what it did not read there', async () => {
    const unread = /All data in the store is still readable\. 1 200 pages .* were not read \(--disks\)\.$/;
    expect(verifySummary(await leaving(), 'again')).toMatch(unread);
    const skipped = await leaving({ pages: 0, skipped: 'they are those of other' });
    expect(verifySummary(skipped, 'again')).toMatch(/1 200 pages .* were not read/);
    expect(verifySummary(await leaving({}), 'again')).toMatch(/All data is still readable\.$/);
  });

  it('says what is gone there, and sends nobody to the store for it', async () => {
    const error = new ParsError('refused', 'vda has changed at 4096');
    const summary = verifySummary(await leaving({ pages: 7, error }), 'again');
    expect(summary).toMatch(/0 of 1 snapshot intact\. The guest's own disks .* a start is refused/);
    expect(summary).not.toMatch(/still readable|pars store status/);
  });
});
