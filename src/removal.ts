/** Whether a snapshot may be removed: it is its owner's to lose, and a stub on this host needs it (R27). */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { ParsError } from './errors.js';
import type { Host } from './host.js';
import { ownerOf, type SnapshotEntry } from './snapshots.js';
import { STUB_MAGIC } from './stub.js';

export interface RemovalConsent {
  force: boolean;
  /** machine-id named on purpose, to remove another host's. */
  owner?: string;
}

/** Says whether the file at `path` is the stub with that token. */
export type StubProbe = (path: string, offset: number, token: string) => Promise<boolean>;

/** Throws 'refused', with what would allow it. */
export async function guardRemoval(entry: SnapshotEntry, host: Host, consent: RemovalConsent, isStub: StubProbe = isStubOf): Promise<void> {
  if (entry.condition !== 'whole') return guardFragment(entry, consent);
  const { snapshot, image, token } = entry.manifest;
  const owner = ownerOf(entry);
  if (owner.machineId !== host.machineId && !(consent.force && consent.owner === owner.machineId)) {
    throw new ParsError('refused', `${snapshot} belongs to another host: ${owner.host} (${owner.machineId})`, { hint: `to remove it all the same: --force --owner ${owner.machineId}` });
  }
  if (!consent.force && (await isStub(image.path, image.headEnd, token))) {
    throw new ParsError('refused', `${image.path} is a stub of ${snapshot}: without the snapshot the guest's memory is lost`, {
      hint: `bring it back first: pars hydrate ${JSON.stringify(image.path)}; or lose it: --force`,
    });
  }
}

/** Nobody can tell whose a fragment is, or whether somebody is just writing it. */
function guardFragment(entry: SnapshotEntry, { force }: RemovalConsent): void {
  if (force) return;
  const why = entry.condition === 'incomplete' ? 'has no manifest: an upload that was interrupted, or is under way now' : 'has a manifest that cannot be read';
  throw new ParsError('refused', `${entry.snapshot} ${why}`, { hint: 'if nobody is writing it, remove it with --force' });
}

/** Compares the few bytes that make a stub this one; nothing of the file is parsed. A file that is not there is no stub. */
export async function isStubOf(path: string, offset: number, token: string): Promise<boolean> {
  const expected = Buffer.from(token, 'hex');
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const { buffer } = await handle.read(Buffer.alloc(32), 0, 32, offset);
      return buffer.subarray(0, STUB_MAGIC.length).equals(STUB_MAGIC) && buffer.subarray(16, 32).equals(expected);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (['ENOENT', 'ENOTDIR', 'EISDIR', 'ELOOP'].includes((cause as NodeJS.ErrnoException).code ?? '')) return false;
    throw new ParsError('busy', `cannot see whether ${path} is a stub of it: ${(cause as Error).message}`, { hint: 'try again later, or remove it with --force', cause });
  }
}
