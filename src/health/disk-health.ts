// SPDX-License-Identifier: Apache-2.0
/**
 * Whether a guest's disks still hold what a snapshot leaves to them: every reference read, and compared with
 * its digest. Reads, changes nothing.
 */
import { ParsError } from '../errors.js';
import type { OnProgress } from '../progress.js';
import { hasReferences, ReferencedPages } from '../snapshot/referenced-pages.js';
import { FRAME_DISK } from '../page-classes.js';
import { SnapshotSource } from '../snapshot/snapshot-source.js';
import { ownerOf, type SnapshotEntry } from '../snapshot/snapshots.js';
import type { Host } from '../system/host.js';
import type { Store } from '../stores/store.js';

export interface DiskHealth {
  /** References that were read. */
  pages: number;
  /** Changed since, and clean: the guest reads them again. */
  lostPages: number;
  /** The first thing that would refuse a start. */
  error: ParsError | null;
  /** Why the disks were not looked at. */
  skipped: string | null;
}

type WholeEntry = SnapshotEntry & { condition: 'whole' };

/** Null for a snapshot that leaves nothing to disks. */
export async function examineDisks(
  store: Store,
  entry: WholeEntry,
  host: Host | null,
  options: { signal?: AbortSignal; onProgress?: OnProgress },
): Promise<DiskHealth | null> {
  const { manifest } = entry;
  if (manifest.references === undefined) return null;
  const found: DiskHealth = { pages: 0, lostPages: 0, error: null, skipped: whyNot(entry, host) };
  if (found.skipped !== null) return found;
  try {
    await readAll(await SnapshotSource.open(store, manifest), found, options);
  } catch (error) {
    if (!(error instanceof ParsError) || error.kind === 'internal') throw error;
    found.error = error;
  }
  return found;
}

function whyNot(entry: WholeEntry, host: Host | null): string | null {
  if (entry.state === 'consumed') return 'the guest has been started since';
  const owner = ownerOf(entry);
  return owner.machineId === host?.machineId ? null : `they are those of ${owner.host}`;
}

async function readAll(
  source: SnapshotSource,
  found: DiskHealth,
  { signal, onProgress }: { signal?: AbortSignal; onProgress?: OnProgress },
): Promise<void> {
  const total = source.manifest.references?.pages ?? 0;
  const onDisks = await ReferencedPages.open(source, signal ? { signal } : {});
  try {
    for (const stripe of source.stripes.filter(hasReferences)) {
      signal?.throwIfAborted();
      for (const frame of stripe.frames.filter(({ kind }) => kind === FRAME_DISK)) {
        const { lostPages } = await onDisks.read(frame, stripe);
        found.pages += frame.pages;
        found.lostPages += lostPages;
      }
      onProgress?.({ phase: 'verifying disks', done: found.pages, total, unit: 'pages' });
    }
  } finally {
    await onDisks.close();
  }
}
