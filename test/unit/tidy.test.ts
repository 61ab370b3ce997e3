// SPDX-License-Identifier: Apache-2.0
/**
 * Retention without anybody's help (R28): what is due goes after a run of the worker, or when the store is
 * full. A year of saves: test/slow/retention-year.test.ts.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ParsError } from '../../src/errors.js';
import { readTidied } from '../../src/journal/tidied.js';
import { markState, settleStarts } from '../../src/lifecycle/claims.js';
import { makeRoom, sayingWhatCouldGo, tidyAfterRun, type TidyPlace } from '../../src/queue/tidy.js';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { stateObject } from '../../src/snapshot/snapshots.js';
import { dailySaves, stateDir, tidyPlace } from '../support/daily-saves.js';
import {
  A,
  backdate,
  commit,
  DAY,
  fixture,
  names,
  useOwnedSnapshots,
  writeStub,
} from '../support/owned-snapshots.js';

useOwnedSnapshots();

async function consumed(sequence = 1): Promise<Manifest> {
  const manifest = await commit({ sequence, token: sequence.toString(16).padStart(32, '0') });
  for (const state of ['stubbed', 'waking', 'consumed'] as const)
    await markState(fixture.store, manifest, state, A);
  return manifest;
}

describe('after a run the worker', () => {
  it('removes what is due, notes it, and does not look again at once', async () => {
    const manifest = await consumed();
    backdate(stateObject(manifest.snapshot, 'consumed'), 8 * DAY);
    expect((await tidyAfterRun(tidyPlace()))?.removed).toEqual([manifest.snapshot]);
    expect(await readTidied(stateDir())).toMatchObject({
      removed: 1,
      removedBytes: 123456,
      due: 0,
      later: 0,
    });
    expect(await tidyAfterRun(tidyPlace())).toBeNull();
  });

  it('removes nothing when that is switched off, and notes what could go', async () => {
    const [old, young] = [await consumed(1), await consumed(2)];
    backdate(stateObject(old.snapshot, 'consumed'), 8 * DAY);
    const off = tidyPlace({ automatic: false });
    expect((await tidyAfterRun(off))?.removed).toEqual([]);
    expect(await makeRoom(off)).toBeNull();
    expect(await readTidied(stateDir())).toMatchObject({ due: 1, dueBytes: 123456, later: 1 });
    expect((await names()).sort()).toEqual([old.snapshot, young.snapshot].sort());
  });
});

describe('a store that is full', () => {
  const full = new ParsError('no-space', 'the quota is used up', { hint: 'ask for more' });

  it('loses what starts have consumed before its time, and nothing else', async () => {
    const young = await consumed(1);
    const kept = await commit({ sequence: 2, token: '2'.repeat(32) });
    await markState(fixture.store, kept, 'stubbed', A);
    writeStub(kept);
    expect((await makeRoom(tidyPlace()))?.removed).toEqual([young.snapshot]);
    expect(await makeRoom(tidyPlace())).toBeNull();
    expect(await names()).toEqual([kept.snapshot]);
  });

  /** Nothing is written to it, not even a mark. */
  const fullStore = (): TidyPlace['store'] =>
    new Proxy(fixture.store, {
      get(target, key) {
        if (key === 'createExclusive') return () => Promise.reject(full);
        const member: unknown = Reflect.get(target, key);
        return typeof member === 'function' ? (member as () => unknown).bind(target) : member;
      },
    });
  const fullPlace = (): TidyPlace => ({ ...tidyPlace(), store: fullStore() });

  async function stubbed(sequence: number): Promise<Manifest> {
    const manifest = await commit({ sequence, token: sequence.toString(16).padStart(32, '0') });
    await markState(fixture.store, manifest, 'stubbed', A);
    return manifest;
  }

  /** Its guest was started; `refilled`: from this image, as far as the host knows. */
  async function started(refilled?: string): Promise<Manifest> {
    const manifest = await stubbed(1);
    const { image, snapshot, token, domain } = manifest;
    const stub = { image: image.path, snapshot, token, domainUuid: domain.uuid, managedSave: true };
    await fullPlace().registry.add({ ...stub, ...(refilled !== undefined && { refilled }) });
    mkdirSync(join(stateDir(), 'started'), { recursive: true });
    writeFileSync(join(stateDir(), 'started', domain.uuid), '');
    return manifest;
  }

  it('loses what a start has consumed, though there is no room for the mark', async () => {
    const { snapshot } = await started('an image');
    const { store, registry } = fullPlace();
    await expect(settleStarts(store, registry, A)).rejects.toMatchObject({ kind: 'no-space' });
    expect((await makeRoom(fullPlace()))?.removed).toEqual([snapshot]);
  });

  it('keeps what its guest was booted without', async () => {
    const { snapshot } = await started();
    expect(await makeRoom(fullPlace())).toBeNull();
    expect(await names()).toEqual([snapshot]);
  });

  it('keeps what a stub needs, though its guest was started', async () => {
    const manifest = await started('an image');
    writeStub(manifest);
    expect(await makeRoom(fullPlace())).toBeNull();
    expect(await names()).toEqual([manifest.snapshot]);
  });

  it('loses what is consumed, though the grace of an orphan cannot be begun', async () => {
    const orphan = await stubbed(1);
    const old = await consumed(2);
    expect((await makeRoom(fullPlace()))?.removed).toEqual([old.snapshot]);
    expect(await names()).toEqual([orphan.snapshot]);
  });

  it('is said with what could go', async () => {
    expect(await sayingWhatCouldGo(full, tidyPlace())).toBe(full);
    await consumed();
    expect(await sayingWhatCouldGo(full, tidyPlace())).toMatchObject({
      kind: 'no-space',
      hint: expect.stringMatching(/no guest needs 1 snapshot .*1 MiB.*pars prune; ask for more/) as string,
    });
    const other = new ParsError('busy', 'in use');
    expect(await sayingWhatCouldGo(other, tidyPlace())).toBe(other);
  });
});

it('a store of three images carries two weeks of daily saves', async () => {
  await dailySaves(14, {});
}, 120_000);
