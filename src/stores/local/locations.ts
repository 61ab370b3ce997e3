// SPDX-License-Identifier: Apache-2.0
/** The directories of a local store, and which of them can be used now. */
import { createHash } from 'node:crypto';
import { isAbsolute, normalize } from 'node:path';
import { isForbidden, isMissing } from '../../system/absence.js';
import { othersInDirectory } from '../../system/ownership.js';
import { ParsError } from '../../errors.js';
import { type Files } from './files.js';
import { type Marker, readMarker } from './marker.js';
import { MARKER_FILE } from '../marker.js';

export interface Place {
  directory: string;
  marker: Marker;
  device: number;
  /** Why others than this user decide what is in it; null when nobody does (R24). */
  others: string | null;
}

export interface Absence {
  directory: string;
  reason: string;
}

export interface Survey {
  usable: Place[];
  absent: Absence[];
}

/** "/srv/d1,/srv/d2" as directories. A path with a comma cannot be written in a URL. */
export function parseDirectories(path: string): string[] {
  const directories = path
    .split(',')
    .map((directory) => normalize(directory.trim()).replace(/(?<=.)\/+$/, ''));
  const bad = directories.find((directory) => !isAbsolute(directory) || directory === '/');
  if (bad !== undefined)
    throw new ParsError(
      'usage',
      `"local:${path}": ${JSON.stringify(bad)} is not the absolute path of a directory`,
      { hint: 'e.g. local:/srv/d1,/srv/d2,/srv/d3' },
    );
  const twice = directories.find((directory, i) => directories.indexOf(directory) !== i);
  if (twice !== undefined) throw new ParsError('usage', `"local:${path}": ${twice} is named twice`);
  return directories;
}

export class Places {
  readonly directories: readonly string[];
  readonly #files: Files;
  /** The store this is, once seen: a directory of another store never joins in later. */
  #storeId: string | undefined;
  readonly #leftOut = new Map<string, Absence>();

  constructor(files: Files, directories: readonly string[]) {
    this.#files = files;
    this.directories = directories;
  }

  /** Counts a directory as missing from now on. */
  leaveOut(absence: Absence): void {
    this.#leftOut.set(absence.directory, absence);
  }

  /** Looks at every directory now: disks come and go. */
  async survey(): Promise<Survey> {
    const seen = await Promise.all(this.directories.map((directory) => this.#look(directory)));
    const found = seen.filter((one): one is Place => 'marker' in one);
    const absent = seen.filter((one): one is Absence => 'reason' in one);
    this.#storeId ??= commonStoreId(found);
    const usable: Place[] = [];
    for (const place of found) {
      const reason = this.#whyNot(place, usable);
      if (reason === null) usable.push(place);
      else absent.push({ directory: place.directory, reason });
    }
    return { usable, absent };
  }

  /**
   * The same order for the same name, as long as the same places are usable: packs spread, and reads guess
   * right first.
   */
  order<T>(name: string, places: readonly T[]): T[] {
    if (places.length === 0) return [];
    const start = createHash('sha256').update(name).digest().readUInt32LE(0) % places.length;
    return [...places.slice(start), ...places.slice(0, start)];
  }

  async #look(directory: string): Promise<Place | Absence> {
    const leftOut = this.#leftOut.get(directory);
    if (leftOut) return leftOut;
    try {
      const [{ dev }, marker] = await Promise.all([
        this.#files.stat(directory),
        readMarker(this.#files, directory),
      ]);
      return marker === null
        ? { directory, reason: `no ${MARKER_FILE} in it: the disk is not mounted, or was replaced` }
        : { directory, marker, device: dev, others: await othersInDirectory(directory, this.#files.stat) };
    } catch (error) {
      return { directory, reason: reasonOf(error) };
    }
  }

  /** Two copies in one directory under two names would be one. */
  #whyNot(place: Place, before: readonly Place[]): string | null {
    if (place.marker.storeId !== this.#storeId) return `belongs to another store (${place.marker.storeId})`;
    const twin = before.find((other) => other.marker.index === place.marker.index);
    return twin ? `has the same marker as ${twin.directory}: one of them is a copy of the other` : null;
  }
}

function reasonOf(error: unknown): string {
  if (isMissing(error)) return 'the directory does not exist';
  if (isForbidden(error)) return 'this user may not read it';
  return error instanceof Error ? error.message : String(error);
}

/** The store that most of the directories belong to; none when two have equal claims. */
function commonStoreId(places: readonly Place[]): string | undefined {
  const votes = new Map<string, number>();
  for (const { marker } of places) votes.set(marker.storeId, (votes.get(marker.storeId) ?? 0) + 1);
  const [first, second] = [...votes].sort((a, b) => b[1] - a[1]);
  if (first && second && first[1] === second[1]) {
    throw new ParsError(
      'refused',
      `the directories belong to different stores: `
        + `${places.map((place) => `${place.directory}: ${place.marker.storeId}`).join('; ')}`,
      { hint: 'name the directories of one store' },
    );
  }
  return first?.[0];
}

/** "/srv/d2: no marker; /srv/d3: ..." */
export function describeAbsences(absent: readonly Absence[]): string {
  return absent.map(({ directory, reason }) => `${directory}: ${reason}`).join('; ');
}

export function notEnoughPlaces(url: string, needed: number, { usable, absent }: Survey): ParsError {
  const have =
    usable.length === 0
      ? 'none of its directories is usable'
      : `${needed} directories are needed and ${usable.length} usable`;
  const why = absent.length === 0 ? '' : ` (${describeAbsences(absent)})`;
  const hint =
    absent.length === 0
      ? `add directories to the store, or choose a policy with at most ${usable.length} copies`
      : usable.length === 0
        ? 'what is stored there is not lost: mount the disks, or run pars as a user who may read them, and '
          + 'try again; only a store that was never set up is made with: pars store init'
        : `mount the disk, or if it was replaced by an empty one: pars store init --store ${url} `
          + `--replace DIRECTORY`;
  return new ParsError('unreachable', `store ${url}: ${have}${why}`, { hint });
}
