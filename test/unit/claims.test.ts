// SPDX-License-Identifier: Apache-2.0
/** Who owns a snapshot, what a start consumes, and who may take it over (R25, R27). */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { guardRemoval } from '../../src/lifecycle/removal.js';
import {
  claimByForce,
  claimDiscarded,
  claimWaking,
  isHeldHere,
  markState,
  refuseConsumed,
  settleStarts,
  takeOver,
  unclaim,
} from '../../src/lifecycle/claims.js';
import { lostStubs } from '../../src/image/lost-stubs.js';
import { findSnapshot, objectPath, takeoverObject } from '../../src/snapshot/snapshots.js';
import { encodeStateRecord } from '../../src/snapshot/state-record.js';
import { LocalStore } from '../../src/stores/local/local-store.js';
import type { Store } from '../../src/stores/store.js';
import { StubRegistry } from '../../src/image/stub-registry.js';
import { ParsError, type ErrorKind } from '../../src/errors.js';
import type { Manifest } from '../../src/snapshot/manifest.js';
import type { SnapshotEntry } from '../../src/snapshot/snapshots.js';
import type { Host } from '../../src/system/host.js';
import { failure, put } from '../contract/store.js';
import { plainDisk } from '../support/disk-primitives.js';
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

  it('of two hosts on different disks leave neither the guest, until it is taken over', async () => {
    const manifest = await commit();
    const [onA, onB] = fixture.directories.map((one) => LocalStore.fromPath(one, { disk: plainDisk }));
    for (const [store, host] of [
      [onA!, A],
      [onB!, B],
    ] as const) {
      await markState(store, manifest, 'waking', host);
    }
    const store = fixture.reopen();
    for (const host of [A, B]) {
      await failure(claimWaking(store, manifest, host), 'refused');
      await unclaim(store, manifest, host);
    }
    await takeOver(store, manifest.snapshot, B);
    await claimWaking(store, manifest, B);
    await failure(claimWaking(store, manifest, A), 'refused');
  });

  it('by takeover are not won by two hosts on different disks either', async () => {
    const manifest = await commit();
    for (const [i, host] of [B, C].entries())
      await LocalStore.fromPath(fixture.directories[i]!, { disk: plainDisk }).createExclusive(
        takeoverObject(manifest.snapshot, 1),
        encodeStateRecord(host, manifest.token),
        { copies: 1 },
      );
    const store = fixture.reopen();
    for (const host of [B, C]) await failure(claimWaking(store, manifest, host), 'refused');
    expect(await takeOver(store, manifest.snapshot, B)).toMatchObject({ taken: true });
    await claimWaking(store, manifest, B);
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

describe('claims in a store that cannot be written', () => {
  function failing(error: Error): void {
    vi.spyOn(fixture.store, 'createExclusive').mockRejectedValue(error);
  }
  const away = new ParsError('unreachable', 'the store is read-only');

  it('are not needed by the host that stored the snapshot, and by every other', async () => {
    const manifest = await commit();
    failing(away);
    await claimWaking(fixture.store, manifest, A);
    await expect(claimWaking(fixture.store, manifest, B)).rejects.toBe(away);
  });

  it('are needed by that host, too, once another has taken the snapshot over', async () => {
    const manifest = await commit();
    await takeOver(fixture.store, manifest.snapshot, B);
    failing(away);
    await failure(claimWaking(fixture.store, manifest, A), 'refused');
  });

  it('are not needed by that host unless another has claimed the snapshot meanwhile', async () => {
    const first = (another: (store: Store) => Promise<unknown>): void => {
      vi.restoreAllMocks();
      vi.spyOn(fixture.store, 'createExclusive').mockImplementation(async () => {
        await another(fixture.reopen());
        throw away;
      });
    };
    const manifest = await commit();
    first((store) => claimWaking(store, manifest, B));
    expect((await failure(claimWaking(fixture.store, manifest, A), 'refused')).message).toContain('host-b');
    const discarded = await commit();
    first((store) => takeOver(store, discarded.snapshot, B));
    const taking = claimDiscarded(fixture.store, discarded, A, { force: false });
    expect((await failure(taking, 'refused')).message).toContain('host-b');
    await claimDiscarded(fixture.store, discarded, A, { force: true });
  });

  it('do not stop force, unless another host is there at the same time', async () => {
    const manifest = await commit();
    failing(away);
    await claimByForce(fixture.store, manifest, B);
    for (const kind of ['busy', 'internal'] satisfies ErrorKind[]) {
      failing(new ParsError(kind, 'no'));
      await failure(claimByForce(fixture.store, manifest, B), kind);
    }
  });

  it('hide no defect', async () => {
    const manifest = await commit();
    failing(new TypeError('a defect'));
    await expect(claimWaking(fixture.store, manifest, A)).rejects.toThrow('a defect');
    await expect(claimByForce(fixture.store, manifest, A)).rejects.toThrow('a defect');
  });
});

describe('a takeover', () => {
  it('is needed where one host has stored a snapshot and another has claimed it, by either', async () => {
    for (const host of [A, B]) {
      const manifest = await commit();
      await claimWaking(fixture.store, manifest, B);
      expect(await takeOver(fixture.store, manifest.snapshot, host)).toMatchObject({
        taken: true,
        before: { ...B, since: expect.any(String) as string },
      });
    }
  });

  it('says whose the snapshot was that nobody had claimed', async () => {
    const manifest = await commit();
    expect(await takeOver(fixture.store, manifest.snapshot, B)).toMatchObject({
      before: { ...A, since: null },
    });
  });

  it('is busy when another host was there first', async () => {
    const manifest = await commit();
    vi.spyOn(fixture.store, 'createExclusive').mockResolvedValue(false);
    const error = await failure(takeOver(fixture.store, manifest.snapshot, B), 'busy');
    expect(error.message).toContain(`${manifest.snapshot} was taken over by another host`);
  });
});

type Whole = SnapshotEntry & { condition: 'whole' };

describe('whose a snapshot is', () => {
  const isHeld = async ({ snapshot }: Manifest, host: Host): Promise<boolean> =>
    isHeldHere(fixture.store, (await findSnapshot(fixture.store, snapshot)) as Whole, host);

  it.each<[after: string, claim: (manifest: Manifest) => Promise<unknown>, held: Host[]]>([
    ['nothing', async () => undefined, [A]],
    ['its own claim', (manifest) => claimWaking(fixture.store, manifest, A), [A]],
    ["another host's claim", (manifest) => claimWaking(fixture.store, manifest, B), []],
    ['a takeover', ({ snapshot }) => takeOver(fixture.store, snapshot, B), [B]],
  ])('after %s', async (_, claim, held) => {
    const manifest = await commit();
    await claim(manifest);
    for (const host of [A, B, C]) expect(await isHeld(manifest, host)).toBe(held.includes(host));
  });

  it('its claim is taken back by the host that has it, and by no other', async () => {
    const manifest = await commit();
    const states = async (): Promise<string[]> =>
      (await fixture.store.list(manifest.snapshot)).filter((name) => name.startsWith('state-'));
    await unclaim(fixture.store, manifest, A);
    await claimWaking(fixture.store, manifest, A);
    await unclaim(fixture.store, manifest, B);
    expect(await states()).toEqual(['state-waking']);
    await unclaim(fixture.store, manifest, A);
    expect(await states()).toEqual([]);
    await claimWaking(fixture.store, manifest, A);
    await markState(fixture.store, manifest, 'consumed', A);
    await unclaim(fixture.store, manifest, A);
    expect(await states()).toEqual(['state-consumed', 'state-waking']);
  });
});

describe('the start of a guest', () => {
  let registry: StubRegistry;
  beforeEach(() => {
    registry = new StubRegistry(join(root, 'state'));
  });

  async function start({ domain }: Manifest, host = A): Promise<void> {
    mkdirSync(join(root, 'state/started'), { recursive: true });
    writeFileSync(join(root, 'state/started', domain.uuid), '');
    await settleStarts(fixture.store, registry, host);
  }
  function note({ token, snapshot, image, domain }: Manifest, refilled?: string): Promise<void> {
    return registry.add({
      image: image.path,
      snapshot,
      token,
      domainUuid: domain.uuid,
      managedSave: true,
      ...(refilled !== undefined && { refilled }),
    });
  }
  const stateOf = async ({ snapshot }: Manifest): Promise<unknown> =>
    ((await findSnapshot(fixture.store, snapshot)) as Whole).state;
  const isClaimed = async ({ snapshot }: Manifest): Promise<boolean> =>
    (await fixture.store.list(snapshot)).includes('state-waking');

  it('consumes what it was refilled from, and forgets the stub', async () => {
    const manifest = await commit();
    await note(manifest, 'some file');
    await start(manifest);
    expect(await stateOf(manifest)).toBe('consumed');
    expect(await isClaimed(manifest)).toBe(true);
    expect(await registry.all()).toEqual([]);
    expect(await registry.discarded()).toEqual([]);
  });

  it('from anything else discards the stub, with the claim of a refill that failed', async () => {
    const manifest = await commit();
    await claimWaking(fixture.store, manifest, A);
    await note(manifest);
    await start(manifest);
    expect(await stateOf(manifest)).toBe('consumed');
    expect(await isClaimed(manifest)).toBe(false);
    expect(await registry.all()).toEqual([]);
    expect(await registry.discarded()).toMatchObject([{ snapshot: manifest.snapshot }]);
  });

  it("consumes the managed saves of this host without a stub, and nothing of another's", async () => {
    const [own, others, file] = [
      await commit(),
      await commit({ owner: B }),
      await commit({}, { managedSave: false }),
    ];
    await start(own);
    expect(await stateOf(own)).toBe('consumed');
    expect(await stateOf(others)).not.toBe('consumed');
    expect(await stateOf(file)).not.toBe('consumed');
  });

  it("consumes another host's snapshot whose stub is here, of several the one of that token", async () => {
    const [first, second] = [await commit({ owner: B }), await commit({ owner: B, token: 'd'.repeat(32) })];
    await note(second, 'some file');
    await start(second);
    expect(await stateOf(first)).not.toBe('consumed');
    expect(await stateOf(second)).toBe('consumed');
  });

  it('passes over what is left of a snapshot', async () => {
    const manifest = await commit();
    await put(
      fixture.store,
      objectPath(`${manifest.domain.uuid}/20200101T000000Z-00000000`, 'kernel.0'),
      Buffer.from('x'),
      1,
    );
    await start(manifest);
    expect(await stateOf(manifest)).toBe('consumed');
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
    await expect(refuseConsumed(fixture.store, manifest, A)).rejects.toMatchObject({
      kind: 'refused',
      hint: expect.stringMatching(
        /^resuming .*: drop the saved state with "virsh managedsave-remove/,
      ) as string,
    });
    for (const other of [B, null])
      await expect(
        refuseConsumed(fixture.store, manifest, other),
        'the guest may run on the host that started it',
      ).rejects.toMatchObject({
        message: expect.stringContaining(`started on host-a (${A.machineId}) since`) as string,
        hint: expect.stringMatching(/may be running there: .* shut it down there first, then drop/) as string,
      });
    rmSync(image.path);
    expect(await lostStubs(registry)).toEqual([]);
  });
});
