// SPDX-License-Identifier: Apache-2.0
/**
 * `pars restore --as-managed-save`: a guest that is defined here and does not run gets its managed save back,
 * when libvirt or somebody has removed it (docs/safety.md, R30). libvirt looks for the file at each start, so
 * nothing has to be told.
 */
import { stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { checkDisks } from '../disks/compare.js';
import { ParsError } from '../errors.js';
import { fileVersion } from '../image/image-file.js';
import { guestName, guestState } from '../libvirt/guest.js';
import { bestEffort } from '../system/best-effort.js';
import { shellWord } from '../system/shell-word.js';
import { realPathOf } from '../system/real-path.js';
import type { Manifest } from '../snapshot/manifest.js';
import { readManifest, wasDiscarded } from '../snapshot/snapshots.js';
import { claimByForce, claimDiscarded, claimWaking, markState, refuseConsumed } from './claims.js';
import { restore, type Restored, type RestoreOptions } from './restore.js';
import { refuseExisting, refuseName, type DefinePlace } from './restore-defined.js';

export interface ManagedSaveOptions extends RestoreOptions {
  acceptChangedDisks: boolean;
  acceptUncomparedDisks: boolean;
}

/**
 * Claims the snapshot for this host and writes its image where libvirt looks for it; never over one that is
 * there.
 */
export async function restoreManagedSave(
  place: DefinePlace,
  snapshot: string,
  options: ManagedSaveOptions,
): Promise<Restored> {
  const { store, host, registry, saveDir } = place;
  const manifest = await readManifest(store, snapshot);
  const { domain, token, disks } = manifest;
  refuseName(domain.name);
  await refuseOther(domain);
  const image = await realPathOf(join(saveDir, `${domain.name}.save`));
  await refuseExisting(image, 'another managed save is dropped with: virsh managedsave-remove');
  const { signal } = options;
  const isUnused = wasDiscarded(await store.list(snapshot));
  // Its guest was started without it: only a comparison tells that its disks are as they were.
  const discarded = !options.acceptChangedDisks && isUnused;
  const acceptUncompared = options.acceptUncomparedDisks && !discarded;
  // What its guest was started without is, on other disks, as good as used.
  const toAccept =
    `pars restore ${snapshot} --as-managed-save --accept-changed-disks` + (isUnused ? ' --force' : '');
  if (!options.acceptChangedDisks)
    await checkDisks(disks, { acceptUncompared, askLibvirt: true, signal, toAccept });
  if (!options.force && !discarded) await refuseConsumed(store, manifest, host);
  if (isUnused) await claimDiscarded(store, manifest, host, options);
  else await (options.force ? claimByForce : claimWaking)(store, manifest, host);
  const restored = await restore(store, snapshot, image, { ...options, force: false });
  try {
    // A start while it was written did not see it: that guest's disks move on.
    await refuseOther(domain);
    if (await registry.startNoted(domain.uuid)) throw startedMeanwhile(domain.name);
    const refilled = fileVersion(await stat(image, { bigint: true }));
    await registry.add({ image, snapshot, token, domainUuid: domain.uuid, managedSave: true, refilled });
    await registry.forgetDiscarded({ domainUuid: domain.uuid, token });
    // The start says it again.
    if (isUnused) await bestEffort(markState(store, manifest, 'waking', host));
  } catch (error) {
    await unlink(image);
    throw error;
  }
  return restored;
}

/**
 * libvirt finds a managed save by the guest's name, and one of another guest it removes instead of resuming
 * it (11.3).
 */
async function refuseOther({ uuid, name }: Manifest['domain']): Promise<void> {
  const state = await guestState(uuid);
  if (state === null)
    throw new ParsError('missing', `libvirt does not know the guest ${name} (${uuid}) here`, {
      hint: 'to define it too: pars restore SNAPSHOT --define',
    });
  if (state !== 'shut off')
    throw new ParsError('refused', `the guest ${name} is not shut off but ${state}`, {
      hint: 'a managed save is for a guest that does not run; to look into the image: pars restore --to FILE',
    });
  const known = await guestName(uuid);
  if (known !== name)
    throw new ParsError(
      'refused',
      `the guest ${uuid} was called ${name} when it was saved, and is called ${known} now`,
      { hint: `rename it back first: virsh domrename ${shellWord(known)} ${shellWord(name)}` },
    );
}

function startedMeanwhile(name: string): ParsError {
  return new ParsError(
    'refused',
    `the guest ${name} was started while its image was written, so its disks have moved on`,
  );
}
