// SPDX-License-Identifier: Apache-2.0
/**
 * `pars restore --define`: a guest that this host has never seen, so that `virsh start` resumes it here. Its
 * image is where libvirt looks for it before libvirt knows the guest: a start in between would boot it afresh
 * and move its disks on.
 */
import { join } from 'node:path';
import { lstat, stat, unlink } from 'node:fs/promises';
import { ifThere } from '../system/absence.js';
import { bestEffort } from '../system/best-effort.js';
import { realPathOf } from '../system/real-path.js';
import { fileVersion } from '../image/image-file.js';
import { moveDisks } from '../libvirt/domain-xml.js';
import { ParsError } from '../errors.js';
import type { Host } from '../system/host.js';
import { checkDisksElsewhere } from '../disks/compare.js';
import { devicesAmong, refuseMoves } from '../disks/moves.js';
import { readManifest } from '../snapshot/snapshots.js';
import { restore, type Restored, type RestoreOptions } from './restore.js';
import { claimByForce, claimWaking, refuseConsumed } from './claims.js';
import type { Manifest } from '../snapshot/manifest.js';
import type { Store } from '../stores/store.js';
import type { StubRegistry } from '../image/stub-registry.js';
import { defineGuest, guestState, savedXml, setSavedXml } from '../libvirt/guest.js';

export interface DefinePlace {
  store: Store;
  host: Host;
  registry: StubRegistry;
  /** libvirt's directory of managed saves. */
  saveDir: string;
}

export interface DefineOptions extends RestoreOptions {
  /** New paths of disks, by target: vda. */
  moved: ReadonlyMap<string, string>;
  acceptChangedDisks: boolean;
  /** Disks that nobody can compare are taken for unchanged. */
  acceptUncomparedDisks: boolean;
}

/** Claims the snapshot for this host, writes its image as a managed save, and defines its guest. */
export async function restoreDefined(
  { store, host, registry, saveDir }: DefinePlace,
  snapshot: string,
  options: DefineOptions,
): Promise<Restored> {
  const manifest = await readManifest(store, snapshot);
  const { domain, token, disks } = manifest;
  refuseName(domain.name);
  await refuseKnown(domain);
  const { moved, acceptChangedDisks, acceptUncomparedDisks: acceptUncompared, signal } = options;
  const devices = await devicesAmong(moved);
  refuseMoves(disks, moved);
  if (!acceptChangedDisks)
    await checkDisksElsewhere(disks, { moved, acceptUncompared, askLibvirt: true, signal });
  const image = await realPathOf(join(saveDir, `${domain.name}.save`));
  await refuseExisting(image, 'it may be the only memory of a guest: if not, move it away');
  if (!options.force) await refuseConsumed(store, manifest, host);
  await (options.force ? claimByForce : claimWaking)(store, manifest, host);
  const restored = await restore(store, snapshot, image, { ...options, force: false, movedDisks: moved });
  try {
    const xml = moveDisks(await savedXml(image), moved, devices);
    if (moved.size > 0) await setSavedXml(image, xml);
    // Known here, so that the hook notes the start that consumes it (R25).
    const refilled = fileVersion(await stat(image, { bigint: true }));
    await registry.add({ image, snapshot, token, domainUuid: domain.uuid, managedSave: true, refilled });
    await defineGuest(xml);
  } catch (error) {
    await undo(image, registry, manifest);
    throw error;
  }
  return restored;
}

/** libvirt makes the path of a managed save of the name. */
export function refuseName(name: string): void {
  if (name !== '' && !name.includes('/') && name !== '.' && name !== '..') return;
  throw new ParsError('refused', `a guest called ${JSON.stringify(name)} can have no managed save`, {
    hint: 'write its image to a file: pars restore --to FILE',
  });
}

/** Forced or not: what may be forced is that memory is used again. */
export async function refuseExisting(image: string, other: string): Promise<void> {
  if ((await ifThere(image, (path) => lstat(path), null)) !== null)
    throw new ParsError('refused', `${image} exists already`, {
      hint: `a stub is filled in place: pars hydrate; ${other}`,
    });
}

async function refuseKnown({ uuid, name }: Manifest['domain']): Promise<void> {
  for (const what of [uuid, name]) {
    const state = await guestState(what);
    if (state === null) continue;
    throw new ParsError('refused', `libvirt knows the guest ${what} here already (${state})`, {
      hint:
        'if it does not run, give it this memory back with "pars restore SNAPSHOT --as-managed-save", or '
        + 'write the image to a file: pars restore --to FILE',
    });
  }
}

/** The claim stays: it is this host's to try again, or another's by "pars takeover". */
async function undo(image: string, registry: StubRegistry, { domain, token }: Manifest): Promise<void> {
  await registry.remove({ domainUuid: domain.uuid, token });
  await bestEffort(unlink(image));
}
