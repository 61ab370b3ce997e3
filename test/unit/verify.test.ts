// SPDX-License-Identifier: Apache-2.0
/** What verify finds and repair makes of it, on a snapshot in three directories. */
import { rename, rm, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { examine } from '../../src/health/snapshot-health.js';
import { markState } from '../../src/lifecycle/claims.js';
import { encodeManifest } from '../../src/snapshot/manifest-codec.js';
import { MANIFEST_NAME } from '../../src/snapshot/snapshots.js';
import { HdfsStore } from '../../src/stores/hdfs/hdfs-store.js';
import type { ObjectHealth, StoredObject } from '../../src/stores/store.js';
import { verificationJson } from '../../src/ui/verification.js';
import { worstFault, worstOf } from '../../src/health/verify.js';
import { flipByte } from '../support/local-store.js';
import {
  files,
  finding,
  fixture,
  manifest,
  standingIn,
  useVerified,
  verify,
} from '../support/verified-snapshot.js';

useVerified();

describe('verify', () => {
  it('finds nothing wrong with what is whole', async () => {
    const found = await verify();
    expect(worstFault(found)).toBeNull();
    expect(found.health?.findings.map(({ name }) => name).sort()).toEqual([
      'clean-cache.0',
      'index',
      'kernel.0',
      MANIFEST_NAME,
      'skeleton.0',
    ]);
  });

  it.each([
    ['kernel.0', 'corrupt', 2],
    ['index', 'corrupt', 2],
    [MANIFEST_NAME, 'corrupt', 2],
  ] as const)('finds one corrupt copy of %s', async (name, outcome, good) => {
    await flipByte((await files(name))[1]!, 20);
    const found = await verify();
    expect(worstFault(found)).toBe(outcome);
    expect(finding(found, name)).toMatchObject({
      condition: 'under-replicated',
      health: { good, wanted: 3, faults: [{ place: fixture.directories[1], fault: 'corrupt' }] },
    });
  });

  it('finds a copy that is missing, and a disk that is away', async () => {
    await rm((await files('kernel.0'))[0]!);
    expect(worstFault(await verify())).toBe('missing');
    await rename(fixture.directories[2]!, `${fixture.directories[2]}-away`);
    expect(worstFault(await verify())).toBe('unreachable');
  });

  it('reads nothing with 0 percent, but sees what is not there', async () => {
    await flipByte((await files('kernel.0'))[0]!, 20);
    expect(worstFault(await verify({ percent: 0 }))).toBeNull();
    await rm((await files('kernel.0'))[0]!);
    expect(worstFault(await verify({ percent: 0 }))).toBe('missing');
  });

  it('tells critical data that is lost from expendable', async () => {
    for (const file of await files('clean-cache.0')) await rm(file);
    const found = await verify();
    expect(worstFault(found)).toBe('missing');
    expect(finding(found, 'clean-cache.0')).toMatchObject({ condition: 'lost', critical: false });
    expect(finding(found, 'clean-cache.0').lost).toHaveLength(4);
    for (const file of await files('kernel.0')) await rm(file);
    expect(worstFault(await verify())).toBe('lost');
  });

  it('counts a copy once: as missing, corrupt or unreachable', async () => {
    const [gone, bad] = await files('kernel.0');
    await rm(gone!);
    await flipByte(bad!);
    await rename(fixture.directories[2]!, `${fixture.directories[2]}-away`);
    const { classes } = verificationJson(await verify()) as { classes: Record<string, unknown>[] };
    expect(classes.find((row) => row['class'] === 'kernel')).toMatchObject({
      objects: 1,
      goodCopies: 0,
      wantedCopies: 3,
      missing: 1,
      corrupt: 1,
      unreachable: 1,
    });
    expect(classes.find((row) => row['class'] === 'manifest')).toMatchObject({
      goodCopies: 2,
      missing: 0,
      corrupt: 0,
      unreachable: 1,
    });
  });

  it('wants no more copies of a state than HDFS makes of one, however many of critical data', async () => {
    const policy = { ...manifest.policy, criticalCopies: 5 };
    for (const file of await files(MANIFEST_NAME))
      await writeFile(file, encodeManifest({ ...manifest, policy }));
    await markState(fixture.store, manifest, 'stubbed', manifest.owner);
    const { stateCopies } = new HdfsStore('webhdfs://namenode:9870/pars');
    const inspect = async ({ name, copies }: StoredObject): Promise<ObjectHealth> => {
      const good = Math.min(copies, name.endsWith('state-stubbed') ? stateCopies : 5);
      const missing = { place: 'a block', fault: 'missing', detail: '' } as const;
      return { good, wanted: copies, faults: good < copies ? [missing] : [] };
    };
    const { findings } = await examine(standingIn({ stateCopies, inspect }), manifest.snapshot, {
      percent: 0,
    });
    expect(findings.filter(({ condition }) => condition !== 'intact')).toEqual([]);
    expect(findings.map(({ name, health }) => [name, health.wanted])).toEqual(
      expect.arrayContaining([
        [MANIFEST_NAME, 5],
        ['state-stubbed', 3],
      ]),
    );
  });

  it('has one outcome over many', () => {
    expect(worstOf([null, null])).toBeNull();
    expect(worstOf([null, 'missing', 'corrupt'])).toBe('corrupt');
    expect(worstOf(['unreachable', 'lost'])).toBe('lost');
  });
});
