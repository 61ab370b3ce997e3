// SPDX-License-Identifier: Apache-2.0
/** Who owns a snapshot, what a start consumes, and who may take it over (R25, R27). */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { guardRemoval } from '../../src/lifecycle/removal.js';
import {
  claimByForce,
  claimWaking,
  markState,
  refuseConsumed,
  settleStarts,
  takeOver,
} from '../../src/lifecycle/claims.js';
import { lostStubs } from '../../src/image/lost-stubs.js';
import { findSnapshot, objectPath } from '../../src/snapshot/snapshots.js';
import { StubRegistry } from '../../src/image/stub-registry.js';
import { failure, put } from '../contract/store.js';
import {
  A,
  B,
  C,
  commit,
  fixture,
  place,
  root,
  useOwnedSnapshots,
  writeStub,
} from '../support/owned-snapshots.js';

useOwnedSnapshots();

describe('claims (R27)', () => {
  it("are the same host's again, and nobody else's, who hears whose and since when", async () => {
    const manifest = await commit();
    await claimWaking(fixture.store, manifest, A);
    await claimWaking(fixture.store, manifest, A);
    const error = await failure(claimWaking(fixture.store, manifest, B), 'refused');
    expect(error.message).toMatch(/host-a \(a{32}\), \d{4}-\d\d-\d\dT/);
    expect(error.hint).toContain(`pars takeover ${manifest.snapshot}`);
  });

  it('are won by exactly one of many hosts that come at once', async () => {
    const manifest = await commit();
    const hosts = Array.from({ length: 8 }, (_, i) => ({
      machineId: String(i).repeat(32),
      host: `host-${i}`,
    }));
    const results = await Promise.allSettled(
      hosts.map((host) => claimWaking(fixture.reopen(), manifest, host)),
    );
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  it('go over by a takeover, and back by another', async () => {
    const manifest = await commit();
    await claimWaking(fixture.store, manifest, A);
    expect(await takeOver(fixture.store, manifest.snapshot, B)).toMatchObject({
      taken: true,
      before: { machineId: A.machineId, since: expect.any(String) as string },
    });
    await claimWaking(fixture.store, manifest, B);
    await failure(claimWaking(fixture.store, manifest, A), 'refused');
    expect(await takeOver(fixture.store, manifest.snapshot, B)).toMatchObject({ taken: false });
    expect(await takeOver(fixture.store, manifest.snapshot, A)).toMatchObject({
      taken: true,
      before: { machineId: B.machineId },
    });
    await claimWaking(fixture.store, manifest, A);
    await failure(claimWaking(fixture.store, manifest, B), 'refused');
  });

  it('are made by force too, so that a third host does not wake the guest for free', async () => {
    const manifest = await commit();
    await claimWaking(fixture.store, manifest, A);
    await claimByForce(fixture.store, manifest, B);
    await claimByForce(fixture.store, manifest, B);
    expect((await fixture.store.list(manifest.snapshot)).filter((name) => name.startsWith('state-'))).toEqual(
      ['state-takeover-1', 'state-waking'],
    );
    for (const host of [A, C])
      expect((await failure(claimWaking(fixture.store, manifest, host), 'refused')).message).toContain(
        'host-b',
      );
    await markState(fixture.store, manifest, 'consumed', B);
    await claimByForce(fixture.store, manifest, C);
  });

  it('that cannot be read are no leave to wake', async () => {
    const manifest = await commit();
    await put(fixture.store, objectPath(manifest.snapshot, 'state-waking'), Buffer.from('garbage'), 3);
    await failure(claimWaking(fixture.store, manifest, B), 'corrupt');
  });

  it('of a consumed snapshot are not taken over (R25)', async () => {
    const manifest = await commit();
    await markState(fixture.store, manifest, 'consumed', A);
    await failure(takeOver(fixture.store, manifest.snapshot, B), 'refused');
  });

  it('taken over make the taker the owner', async () => {
    const manifest = await commit();
    await takeOver(fixture.store, manifest.snapshot, B);
    const entry = await findSnapshot(fixture.store, manifest.snapshot);
    await failure(guardRemoval(entry, place(), { force: false }), 'refused');
    await guardRemoval(entry, place({}, B), { force: false });
    await failure(guardRemoval(entry, place({}, C), { force: true, owner: A.machineId }), 'refused');
  });
});

describe('a start without the stub', () => {
  it('leaves the stub known as consumed, and nobody misses it when it is dropped', async () => {
    const manifest = await commit();
    const { token, snapshot, image, domain } = manifest;
    writeStub(manifest);
    const registry = new StubRegistry(join(root, 'state'));
    await registry.add({ image: image.path, snapshot, token, domainUuid: domain.uuid, managedSave: true });
    mkdirSync(join(root, 'state/started'));
    writeFileSync(join(root, 'state/started', domain.uuid), '');
    await settleStarts(fixture.store, registry, A);
    expect(await registry.all()).toMatchObject([{ snapshot, consumed: true }]);
    await expect(refuseConsumed(fixture.store, manifest)).rejects.toMatchObject({
      kind: 'refused',
      hint: expect.stringContaining('virsh managedsave-remove') as string,
    });
    rmSync(image.path);
    expect(await lostStubs(registry)).toEqual([]);
  });
});
