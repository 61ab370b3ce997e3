// SPDX-License-Identifier: Apache-2.0
/** Whether a snapshot may be removed: it is its owner's to lose, and a stub on this host needs it (R27). */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { ParsError } from '../errors.js';
import type { Host } from '../system/host.js';
import { shellWord } from '../system/shell-word.js';
import type { Manifest } from '../snapshot/manifest.js';
import { ownerOf, type SnapshotEntry } from '../snapshot/snapshots.js';
import { STUB_MAGIC } from '../image/stub.js';
import type { StubRegistry } from '../image/stub-registry.js';

export interface RemovalConsent {
  force: boolean;
  /** machine-id named on purpose, to remove another host's. */
  owner?: string;
}

export interface RemovalPlace {
  host: Host;
  registry: StubRegistry;
}

/** Says whether the file at `path` is the stub with that token. */
export type StubProbe = (path: string, offset: number, token: string) => Promise<boolean>;

/** Throws 'refused', with what would allow it. */
export async function guardRemoval(
  entry: SnapshotEntry,
  { host, registry }: RemovalPlace,
  consent: RemovalConsent,
  isStub: StubProbe = isStubOf,
): Promise<void> {
  if (entry.condition !== 'whole') return guardFragment(entry, consent);
  const { snapshot, image, token } = entry.manifest;
  const owner = ownerOf(entry);
  if (owner.machineId !== host.machineId && !(consent.force && consent.owner === owner.machineId)) {
    throw new ParsError(
      'refused',
      `${snapshot} belongs to another host: ${owner.host} (${owner.machineId})`,
      { hint: `to remove it all the same: --force --owner ${owner.machineId}` },
    );
  }
  if (consent.force) return;
  const noted = (await registry.all()).find((stub) => stub.token === token);
  if (entry.state === 'committed' && noted !== undefined) throw unfinished(snapshot, noted.image);
  for (const path of await stubPathsOf(registry, entry.manifest)) {
    if (!(await isStub(path, image.headEnd, token))) continue;
    throw new ParsError(
      'refused',
      `${path} is a stub of ${snapshot}: without the snapshot the guest's memory is lost`,
      { hint: `bring it back first: pars hydrate ${shellWord(path)}; or lose it: --force` },
    );
  }
}

/** Its offload goes on, or was cut short: nobody but that knows whether the image is about to be freed. */
function unfinished(snapshot: string, path: string): ParsError {
  return new ParsError('refused', `the offload of ${path} that stored ${snapshot} has not ended`, {
    hint:
      `see: pars status; one that was cut short is ended by: pars offload ${shellWord(path)}; to remove `
      + 'it all the same: --force',
  });
}

/** Where the stub of a snapshot may lie: where it was made, and where this host has met it since. */
export async function stubPathsOf(registry: StubRegistry, { image, token }: Manifest): Promise<string[]> {
  const met = (await registry.all()).filter((stub) => stub.token === token).map((stub) => stub.image);
  return [...new Set([image.path, ...met])];
}

/** Nobody can tell whose a fragment is, or whether somebody is just writing it. */
function guardFragment(entry: SnapshotEntry, { force }: RemovalConsent): void {
  if (force) return;
  const why =
    entry.condition === 'incomplete'
      ? 'has no manifest: an upload that was interrupted, or is under way now'
      : 'has a manifest that cannot be read';
  throw new ParsError('refused', `${entry.snapshot} ${why}`, {
    hint: 'if nobody is writing it, remove it with --force',
  });
}

/** Whether the file at `path` is the stub with that token. A file that is not there is not a stub. */
export async function isStubOf(path: string, offset: number, token: string): Promise<boolean> {
  return (await stubTokenAt(path, offset)) === token;
}

/**
 * The token of the stub at `path`; 'image' for a file that is not a stub, null for no file. Looks at the few
 * bytes that tell; parses nothing.
 */
export async function stubTokenAt(path: string, offset: number): Promise<string | null> {
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const { buffer } = await handle.read(Buffer.alloc(32), 0, 32, offset);
      return buffer.subarray(0, STUB_MAGIC.length).equals(STUB_MAGIC)
        ? buffer.toString('hex', 16, 32)
        : 'image';
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (['ENOENT', 'ENOTDIR', 'EISDIR', 'ELOOP'].includes((cause as NodeJS.ErrnoException).code ?? ''))
      return null;
    throw new ParsError('busy', `cannot see whether ${path} is a stub of it: ${(cause as Error).message}`, {
      hint: 'try again later, or remove it with --force',
      cause,
    });
  }
}
