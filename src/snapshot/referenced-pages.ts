// SPDX-License-Identifier: Apache-2.0
/**
 * The pages of a snapshot that the guest's disks hold: read from there, and believed by their digests only.
 */
import { ParsError } from '../errors.js';
import { native, type LostReference } from '../native.js';
import { FRAME_DISK, isExpendableKind, PAGE_BYTES, PAGE_CLASSES } from '../page-classes.js';
import { GuestDisks, type ReadableDisk } from '../disks/guest-disks.js';
import { volumePath } from '../disks/pools.js';
import type { RecordedDisk } from '../disks/record.js';
import { decoded } from './decoding.js';
import type { IndexFrame, IndexStripe } from './index-table.js';
import { describeFrame, lossOf, type SnapshotSource } from './snapshot-source.js';

/** Of one stripe. */
export interface DiskPages {
  /** What is lost is zeros. */
  data: Buffer;
  /** Pages that the guest can be made to read again. */
  lostPages: number;
}

/** Where disks of the guest are on this host, if not where they were. */
export interface DiskPlaces {
  /** By their targets. */
  movedDisks?: ReadonlyMap<string, string>;
  /** Where libvirt keeps the XML of its pools; libvirt itself is not asked, for this runs in its hook. */
  poolDirectories?: readonly string[];
  signal?: AbortSignal;
}

export class ReferencedPages {
  readonly #source: SnapshotSource;
  readonly #recorded: readonly RecordedDisk[];
  readonly #disks: GuestDisks;
  readonly #readable: readonly (ReadableDisk | null)[];

  private constructor(source: SnapshotSource, recorded: readonly RecordedDisk[], disks: GuestDisks) {
    this.#source = source;
    this.#recorded = recorded;
    this.#disks = disks;
    this.#readable = disks.byNumber();
  }

  /** Opens nothing when nothing is on disks. */
  static async open(source: SnapshotSource, places: DiskPlaces): Promise<ReferencedPages> {
    const needed = source.stripes.some(hasReferences) ? source.manifest.disks : [];
    const disks = await Promise.all(
      needed.map(async (disk) => ({ ...disk, source: await placeOf(disk, places) })),
    );
    return new ReferencedPages(source, disks, await GuestDisks.toRead(disks, places.signal));
  }

  /**
   * What the references of a stripe stand for. Throws 'lost' when a disk holds something else where the guest
   * cannot do without, and 'unreachable' when it does not answer.
   */
  async read(frame: IndexFrame, stripe: IndexStripe): Promise<DiskPages> {
    const packed = await this.#source.read(frame).catch((error: unknown) => {
      throw lossOf(error, describeFrame(frame, stripe));
    });
    const what = describeFrame(frame, stripe);
    const table = await decoded(what, native().decompress(packed, frame.rawBytes));
    const reading = native().readReferences(table, frame.pages, this.#readable);
    const { data, lost } = await decoded(what, reading);
    for (const reference of lost) this.#refuseFatal(reference);
    return { data, lostPages: lost.reduce((sum, { pages }) => sum + pages, 0) };
  }

  close(): Promise<void> {
    return this.#disks.close();
  }

  #refuseFatal(reference: LostReference): void {
    const isThere = (this.#readable[reference.disk] ?? null) !== null;
    if (!isThere)
      throw diskMissing(
        this.#describe(reference.disk),
        this.#disks.reason(reference.disk) ?? 'it is not there',
      );
    if (isExpendableKind(reference.pageClass)) return;
    const { disk, offset, pages, pageClass, unreadable } = reference;
    const what =
      `${pages} pages (${pages * PAGE_BYTES} bytes) of ` + `${PAGE_CLASSES[pageClass] ?? 'unknown'} data`;
    const where = `at byte ${offset} of the disk ${this.#describe(disk)}`;
    if (unreadable)
      throw new ParsError('unreachable', `${what} cannot be read ${where}`, { hint: DISK_HINT });
    throw new ParsError(
      'lost',
      `${what} are only on the guest's disk, and ${where} there is something else now`,
      { hint: 'the disk was changed after the guest was saved: put back the disk as it was, then try again' },
    );
  }

  #describe(disk: number): string {
    const recorded = this.#recorded[disk];
    return recorded === undefined ? `number ${disk}` : `${recorded.target} (${recorded.source})`;
  }
}

const DISK_HINT = 'the guest cannot do without it: see that the disk can be read, then try again';

/** The pool of a volume may be elsewhere on this host. */
async function placeOf(
  { target, source, pool }: RecordedDisk,
  { movedDisks, poolDirectories }: DiskPlaces,
): Promise<string> {
  const moved = movedDisks?.get(target);
  if (moved !== undefined || pool === undefined) return moved ?? source;
  const options = { askLibvirt: false, ...(poolDirectories && { poolDirectories }) };
  const path = await volumePath(pool.name, pool.volume, options);
  return typeof path === 'string' ? path : source;
}

/** Whether some of a stripe's pages are on disks. */
export function hasReferences({ frames }: IndexStripe): boolean {
  return frames.some(({ kind }) => kind === FRAME_DISK);
}

function diskMissing(disk: string, reason: string): ParsError {
  return new ParsError(
    'unreachable',
    `pages of the guest are only on its disk ${disk}, which cannot be read: ${reason}`,
    { hint: 'see that the disk is there and can be read, then try again' },
  );
}
