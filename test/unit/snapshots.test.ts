// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { decodeManifest, encodeManifest } from '../../src/snapshot/manifest-codec.js';
import { StubRegistry } from '../../src/image/stub-registry.js';
import { guardRemoval, isStubOf } from '../../src/lifecycle/removal.js';
import {
  findSnapshot,
  listSnapshots,
  MANIFEST_NAME,
  newSnapshotName,
  nextSequence,
  objectPath,
  readManifest,
  readState,
  removeSnapshot,
  resolveSnapshot,
  stateObject,
} from '../../src/snapshot/snapshots.js';
import type { Store } from '../../src/stores/store.js';
import { encodeStub } from '../../src/image/stub.js';
import { failure, put } from '../contract/store.js';
import { type LocalFixture, localFixture } from '../support/local-store.js';
import { EVIL_NAME, GUEST, sampleManifest } from '../support/manifests.js';

const OTHER = '99999999-2222-3333-4444-555555555555';

let fixture: LocalFixture;
let store: Store;

beforeEach(async () => {
  fixture = await localFixture();
  store = fixture.store;
});
afterEach(() => fixture.dispose());

async function commit(changes: Partial<Manifest> = {}): Promise<Manifest> {
  const manifest = sampleManifest({ snapshot: newSnapshotName(changes.domain?.uuid ?? GUEST), ...changes });
  await put(store, objectPath(manifest.snapshot, 'skeleton.0'), Buffer.from('pages'), 3);
  await put(store, objectPath(manifest.snapshot, MANIFEST_NAME), encodeManifest(manifest), 3);
  return manifest;
}

describe('names (R23)', () => {
  it('are UUID, UTC time and random digits', () => {
    expect(newSnapshotName(GUEST.toUpperCase(), new Date('2026-11-23T09:30:00.123Z'))).toMatch(
      new RegExp(`^${GUEST}/20261123T093000Z-[0-9a-f]{8}$`),
    );
  });

  it.each([EVIL_NAME, '..', '', '../../etc', `${GUEST}/..`])('are never made of %j', (text) => {
    expect(() => newSnapshotName(text)).toThrow();
    expect(() => objectPath(text, 'x')).toThrow();
  });

  it('leave the name of the domain to the manifest', async () => {
    const { snapshot } = await commit();
    expect((await readManifest(store, snapshot)).domain.name).toBe(EVIL_NAME);
  });
});

describe('manifests', () => {
  const manifest = sampleManifest();
  const encode = (changes: object): Buffer => Buffer.from(JSON.stringify({ ...manifest, ...changes }));

  it('come back as they were', () => {
    expect(decodeManifest(encodeManifest(manifest), manifest.snapshot)).toEqual(manifest);
  });

  it('of a newer format are refused by name', () => {
    expect(() => decodeManifest(encode({ format: 5, anything: 'else' }), manifest.snapshot)).toThrow(
      expect.objectContaining({
        kind: 'refused',
        message: expect.stringContaining('format 5') as string,
      }) as Error,
    );
  });

  it.each([
    ['no JSON', Buffer.from('{"format": 1,')],
    ['no object', Buffer.from('7')],
    ['another snapshot', encode({ snapshot: `${OTHER}/20261123T093000Z-0123abcd` })],
    ['no token', encode({ token: 'zz' })],
    ['a negative size', encode({ storedBytes: -1 })],
    ['a size beyond what numbers hold', encode({ image: { ...manifest.image, bytes: 2 ** 60 } })],
    ['too many copies', encode({ objects: [{ ...manifest.objects[0], copies: 1e9 }] })],
    ['a class missing', encode({ classes: { kernel: manifest.classes.kernel } })],
    ['an endless name', encode({ domain: { uuid: GUEST, name: 'x'.repeat(5000) } })],
  ])('that are damaged are corrupt: %s', (_, data) => {
    expect(() => decodeManifest(data, manifest.snapshot)).toThrow(
      expect.objectContaining({ kind: 'corrupt' }) as Error,
    );
  });
});

describe('snapshots in a store', () => {
  it('are listed by guest and sequence, never by clock', async () => {
    const later = await commit({ sequence: 1, snapshot: `${GUEST}/20300101T000000Z-00000001` });
    const earlier = await commit({ sequence: 2, snapshot: `${GUEST}/20200101T000000Z-00000002` });
    const other = await commit({ sequence: 7, domain: { uuid: OTHER, name: 'other' } });
    expect((await listSnapshots(store)).map(({ snapshot }) => snapshot)).toEqual([
      later.snapshot,
      earlier.snapshot,
      other.snapshot,
    ]);
    expect(await listSnapshots(store, OTHER)).toHaveLength(1);
    expect(await nextSequence(store, GUEST)).toBe(3);
    expect(await nextSequence(store, '00000000-0000-0000-0000-000000000000')).toBe(1);
  });

  it('go through states', async () => {
    const { snapshot } = await commit();
    expect(await readState(store, snapshot)).toBe('committed');
    await store.createExclusive(stateObject(snapshot, 'stubbed'), Buffer.from('{}'), { copies: 3 });
    expect(await readState(store, snapshot)).toBe('stubbed');
    await store.createExclusive(stateObject(snapshot, 'consumed'), Buffer.from('{}'), { copies: 3 });
    expect(await findSnapshot(store, snapshot)).toMatchObject({ condition: 'whole', state: 'consumed' });
  });

  it('do not exist without a manifest, but are seen as fragments', async () => {
    const snapshot = newSnapshotName(GUEST);
    await put(store, objectPath(snapshot, 'skeleton.0'), Buffer.from('x'), 3);
    expect(await listSnapshots(store)).toEqual([{ snapshot, condition: 'incomplete' }]);
    await failure(readManifest(store, snapshot), 'missing');
  });

  it('with a manifest that cannot be read do not hide the others', async () => {
    const good = await commit();
    const bad = newSnapshotName(GUEST);
    await put(store, objectPath(bad, MANIFEST_NAME), Buffer.from('garbage'), 3);
    const newer = newSnapshotName(GUEST);
    await put(store, objectPath(newer, MANIFEST_NAME), Buffer.from('{"format": 9}'), 3);
    const entries = new Map((await listSnapshots(store)).map((entry) => [entry.snapshot, entry]));
    expect(entries.get(good.snapshot)).toMatchObject({ condition: 'whole' });
    expect(entries.get(bad)).toMatchObject({ condition: 'unreadable', error: { kind: 'corrupt' } });
    expect(entries.get(newer)).toMatchObject({ condition: 'unreadable', error: { kind: 'refused' } });
  });

  it('are found by what a person types', async () => {
    const first = await commit({ sequence: 1, snapshot: `${GUEST}/20261123T093000Z-00000001` });
    const second = await commit({ sequence: 2, snapshot: `${GUEST}/20261123T093000Z-00000002` });
    expect(await resolveSnapshot(store, first.snapshot)).toBe(first.snapshot);
    expect(await resolveSnapshot(store, GUEST.toUpperCase())).toBe(second.snapshot);
    expect(await resolveSnapshot(store, first.snapshot.slice(0, -1) + '1')).toBe(first.snapshot);
    await failure(resolveSnapshot(store, GUEST.slice(0, 8)), 'usage');
    await failure(resolveSnapshot(store, 'abc'), 'missing');
    await failure(resolveSnapshot(store, ''), 'missing');
    await failure(findSnapshot(store, `${OTHER}/20261123T093000Z-00000001`), 'missing');
  });

  it('are removed manifest first', async () => {
    const { snapshot } = await commit();
    const removed: string[] = [];
    const watched = new Proxy(store, {
      get: (target, key) =>
        key === 'remove'
          ? (name: string) => (removed.push(name), target.remove(name))
          : Reflect.get(target, key).bind(target),
    });
    await removeSnapshot(watched, snapshot);
    expect(removed).toEqual([`${snapshot}/${MANIFEST_NAME}`, snapshot]);
    expect(await store.list('')).toEqual([]);
  });
});

describe('removal (R27)', () => {
  const owner = { machineId: 'b'.repeat(32), host: 'host-b' };
  const stranger = { machineId: 'c'.repeat(32), host: 'host-c' };
  const entry = {
    condition: 'whole',
    state: 'stubbed',
    snapshot: sampleManifest().snapshot,
    manifest: sampleManifest(),
  } as const;
  const registry = new StubRegistry('/nowhere');
  const never = async (): Promise<boolean> => false;
  const always = async (): Promise<boolean> => true;

  it("is the owner's", async () => {
    await guardRemoval(entry, { host: owner, registry }, { force: false }, never);
    const error = await failure(
      guardRemoval(entry, { host: stranger, registry }, { force: false }, never),
      'refused',
    );
    expect(error.hint).toContain(`--force --owner ${owner.machineId}`);
    await failure(guardRemoval(entry, { host: stranger, registry }, { force: true }, never), 'refused');
    await failure(
      guardRemoval(entry, { host: stranger, registry }, { force: true, owner: stranger.machineId }, never),
      'refused',
    );
    await failure(
      guardRemoval(entry, { host: stranger, registry }, { force: false, owner: owner.machineId }, never),
      'refused',
    );
    await guardRemoval(entry, { host: stranger, registry }, { force: true, owner: owner.machineId }, never);
  });

  it('waits for the stub that needs it', async () => {
    expect(
      (await failure(guardRemoval(entry, { host: owner, registry }, { force: false }, always), 'refused'))
        .message,
    ).toContain('/nowhere/web.save is a stub');
    await guardRemoval(entry, { host: owner, registry }, { force: true }, always);
  });

  it('of a fragment wants a word', async () => {
    const fragment = { condition: 'incomplete', snapshot: entry.snapshot } as const;
    await failure(guardRemoval(fragment, { host: owner, registry }, { force: false }, never), 'refused');
    await guardRemoval(fragment, { host: owner, registry }, { force: true }, never);
  });

  it('knows a stub by its token, at its place, and nothing else by it', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'pars-stub-'));
    const path = join(directory, 'web.save');
    const { token, snapshot } = sampleManifest();
    const record = encodeStub({
      token,
      domainUuid: GUEST,
      imageBytes: 1 << 20,
      offset: 4096,
      headDigest: 'c'.repeat(64),
      snapshot,
      storeUrl: 'local:/a',
    });
    writeFileSync(path, Buffer.concat([Buffer.alloc(4096), record]));
    expect(await isStubOf(path, 4096, token)).toBe(true);
    expect(await isStubOf(path, 0, token)).toBe(false);
    expect(await isStubOf(path, 4096, 'f'.repeat(32))).toBe(false);
    expect(await isStubOf(path, 1 << 20, token)).toBe(false);
    expect(await isStubOf(join(directory, 'none'), 4096, token)).toBe(false);
    expect(await isStubOf(directory, 4096, token)).toBe(false);
    rmSync(directory, { recursive: true });
  });
});
