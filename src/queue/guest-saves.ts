// SPDX-License-Identifier: Apache-2.0
/**
 * Managed saves by the guests they are of. libvirt is not asked: it may not run yet, or be waiting for us.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ParsError } from '../errors.js';
import { ImageFile } from '../image/image-file.js';
import type { StartedAtBoot } from '../libvirt/boot.js';
import { probeImage } from '../reader/reader.js';
import { savesIn } from '../status/save-places.js';
import { ifThere } from '../system/absence.js';
import { realDirectory } from '../system/real-path.js';

export interface GuestSave {
  image: string;
  name: string;
  uuid: string;
  isStub: boolean;
  savedMs: number;
}

export interface GuestSaves {
  saves: GuestSave[];
  /** What cannot be read, or is still being written. */
  unreadable: { image: string; error: ParsError }[];
}

export async function guestSavesIn(saveDir: string, signal: AbortSignal): Promise<GuestSaves> {
  const found: GuestSaves = { saves: [], unreadable: [] };
  for (const image of await savesIn(saveDir)) {
    try {
      found.saves.push(await look(image, signal));
    } catch (error) {
      if (!(error instanceof ParsError)) throw error;
      if (error.kind !== 'missing') found.unreadable.push({ image, error });
    }
  }
  return found;
}

/** The managed save of the guest of that name or UUID. */
export async function saveOfGuest(saveDir: string, guest: string, signal: AbortSignal): Promise<GuestSave> {
  // By the name that libvirt gives it. Reading all of them is for UUIDs, and for names that are not a file's.
  const named = guest.includes('/') ? null : join(await realDirectory(saveDir), `${guest}.save`);
  if (named !== null && (await ifThere(named, stat, null)) !== null) return look(named, signal);
  const { saves } = await guestSavesIn(saveDir, signal);
  const save = saves.find(({ name, uuid }) => name === guest || uuid === guest.toLowerCase());
  if (save) return save;
  throw new ParsError('missing', `there is no managed save of a guest ${guest} in ${saveDir}`, {
    hint: 'see: virsh list --all --managed-save; a stub elsewhere is refilled with: pars hydrate IMAGE',
  });
}

/** Whose memory an image is; null when it is gone. */
export async function guestOfImage(
  image: string,
  signal: AbortSignal,
): Promise<Pick<GuestSave, 'name' | 'uuid'> | null> {
  return look(image, signal).catch((error: unknown) => {
    if (error instanceof ParsError && error.kind === 'missing') return null;
    throw error;
  });
}

async function look(image: string, signal: AbortSignal): Promise<GuestSave> {
  const file = await ImageFile.open(image);
  try {
    const { domain, stubRecord } = await probeImage(file.fd, { signal });
    const savedMs = Number((await file.identity()).mtimeNs / 1_000_000n);
    return { image, name: domain.name, uuid: domain.uuid, isStub: stubRecord !== null, savedMs };
  } finally {
    await file.close();
  }
}

/** In the order in which they are wanted at a boot: those started first come first, then the youngest. */
export function inStartOrder(saves: readonly GuestSave[], boot: StartedAtBoot): GuestSave[] {
  const turn = (save: GuestSave): number =>
    boot.autostart.has(save.name) ? 0 : boot.stopped.has(save.uuid) ? 1 : 2;
  return [...saves].sort((a, b) => turn(a) - turn(b) || b.savedMs - a.savedMs);
}

export function isStartedAtBoot({ name, uuid }: GuestSave, { autostart, stopped }: StartedAtBoot): boolean {
  return autostart.has(name) || stopped.has(uuid);
}
