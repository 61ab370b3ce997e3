// SPDX-License-Identifier: Apache-2.0
/**
 * `pars restore --as-managed-save` of a saved state that was discarded, and its guest booted without it: as
 * long as its disks are as they were (R26). virsh is stood in for.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { settleStarts, takeOver } from '../../src/lifecycle/claims.js';
import { prune } from '../../src/lifecycle/prune.js';
import { restoreManagedSave } from '../../src/lifecycle/restore-managed-save.js';
import type { Restored } from '../../src/lifecycle/restore.js';
import { domainXml, smallImage, UUID } from '../support/image-builder.js';
import { HOST, type ImageFixture, imageFixture } from '../support/image-fixture.js';

const WEEK_MS = 7 * 86_400_000;

interface PutBackOptions {
  force?: boolean;
  acceptChangedDisks?: boolean;
  signal?: AbortSignal;
}

let fixture: ImageFixture;
let original: Buffer;
let disk: string;
let snapshot: string;

beforeEach(async () => {
  fixture = await imageFixture();
  const { root, image } = fixture;
  disk = join(root, 'disk.img');
  writeFileSync(disk, 'disk');
  mkdirSync(join(root, 'bin'));
  const virsh =
    '#!/bin/sh\ncase "$*" in *domstate*) echo "shut off" ;; '
    + '*dominfo*) echo "Name:           guest" ;; esac\n';
  writeFileSync(join(root, 'bin/virsh'), virsh, { mode: 0o755 });
  vi.stubEnv('PATH', `${join(root, 'bin')}:${process.env['PATH'] ?? ''}`);
  const devices =
    `<devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${disk}'/>`
    + `<target dev='vda' bus='virtio'/></disk></devices></domain>`;
  original = smallImage({ xml: domainXml().replace('</domain>', devices) }).bytes;
  writeFileSync(image, original);
  snapshot = (await fixture.offload()).snapshot;
  rmSync(image);
  mkdirSync(join(root, 'state/started'));
  writeFileSync(join(root, 'state/started', UUID), '');
  await settleStarts(fixture.store, fixture.registry, HOST);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await fixture.dispose();
});

function putBack({
  force = false,
  acceptChangedDisks = false,
  signal,
}: PutBackOptions = {}): Promise<Restored> {
  const { store, registry, image } = fixture;
  return restoreManagedSave({ store, host: HOST, registry, saveDir: dirname(image) }, snapshot, {
    force,
    acceptChangedDisks,
    acceptUncomparedDisks: true,
    ...(signal && { signal }),
  });
}

/** Where libvirt looks for it. */
const managedSave = (): string => join(dirname(fixture.image), 'guest.save');

/** The attempt ends once it has claimed the snapshot: its first look at the memory fails. */
async function interrupt(): Promise<void> {
  const { store } = fixture;
  const interruption = new AbortController();
  const readRange = vi.spyOn(store, 'readRange').mockImplementation(() => {
    interruption.abort(new Error('interrupted by SIGINT'));
    throw interruption.signal.reason;
  });
  await expect(putBack({ signal: interruption.signal })).rejects.toThrow('interrupted');
  readRange.mockRestore();
  expect(existsSync(managedSave())).toBe(false);
}

it('is put back while the disk is as it was, and named no more', async () => {
  expect(await fixture.registry.discarded()).toHaveLength(1);
  const { image } = await putBack();
  expect(readFileSync(image).equals(original)).toBe(true);
  expect(await fixture.registry.discarded()).toEqual([]);
});

it('is put back by a second try, and until then not pruned as if a start had used it', async () => {
  await interrupt();
  const { store, registry } = fixture;
  const retention = { keepLast: null, maxAgeMs: null, consumedMs: WEEK_MS, orphanGraceMs: WEEK_MS };
  const { removed } = await prune({ store, host: HOST, registry, retention }, { yes: true, pressed: true });
  expect(removed).toEqual([]);
  const { image } = await putBack();
  expect(readFileSync(image).equals(original)).toBe(true);
});

it('is claimed by the host that puts it back', async () => {
  await interrupt();
  const other = { machineId: '1'.repeat(32), host: 'other' };
  const { store, registry, image } = fixture;
  const elsewhere = { store, host: other, registry, saveDir: dirname(image) };
  const options = { force: false, acceptChangedDisks: false, acceptUncomparedDisks: true };
  await expect(restoreManagedSave(elsewhere, snapshot, options)).rejects.toMatchObject({
    kind: 'refused',
    hint: expect.stringContaining('pars takeover') as string,
  });
  expect(await takeOver(store, snapshot, other)).toMatchObject({ taken: true });
  expect((await restoreManagedSave(elsewhere, snapshot, options)).image).toBe(managedSave());
});

it('is refused once the disk has moved on, also when that alone is accepted', async () => {
  utimesSync(disk, new Date(), new Date());
  await expect(putBack()).rejects.toMatchObject({
    kind: 'refused',
    message: expect.stringContaining('disk') as string,
    hint: expect.stringContaining(
      `pars restore ${snapshot} --as-managed-save --accept-changed-disks --force`,
    ) as string,
  });
  await expect(putBack({ acceptChangedDisks: true })).rejects.toMatchObject({
    kind: 'refused',
    message: expect.stringContaining('moved on') as string,
  });
  expect(await fixture.registry.discarded()).toHaveLength(1);
});

it.each([false, true])('a save that libvirt made meanwhile stays (forced: %s)', async (force) => {
  const { store } = fixture;
  const read = store.readRange.bind(store);
  vi.spyOn(store, 'readRange').mockImplementation((...range) => {
    writeFileSync(managedSave(), 'newer memory');
    return read(...range);
  });
  await expect(putBack({ force, acceptChangedDisks: force })).rejects.toMatchObject({ kind: 'refused' });
  expect(readFileSync(managedSave(), 'utf8')).toBe('newer memory');
});
