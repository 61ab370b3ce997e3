// SPDX-License-Identifier: Apache-2.0
/**
 * Makes directories a store, once, and gives a replaced disk its marker back. Writes nothing before all is
 * checked (R22).
 */
import { join } from 'node:path';
import { isMissing } from '../../system/absence.js';
import { bestEffort } from '../../system/best-effort.js';
import { othersAbove, othersInDirectory } from '../../system/ownership.js';
import { isTemporary } from '../../system/temporary-name.js';
import { counted } from '../../system/counted.js';
import { ParsError } from '../../errors.js';
import { type Devices, devicesOf, refuseSameDevice, refuseUnmounted, sameDevice } from './devices.js';
import { diskError, DIRECTORY_MODE, type Files, nodeFiles, syncDirectory } from './files.js';
import { type Marker, readMarker, writeMarker } from './marker.js';
import { MARKER_FILE, MARKER_FORMAT, newStoreId } from '../marker.js';
import { parseDirectories } from './locations.js';

export interface InitOptions {
  /** Copies on one device are lost together: only when asked for. The marker records it. */
  allowSameDevice?: boolean;
  /**
   * Whatever the directories are: not mount points, on one device, fewer than copies, or such as others may
   * write.
   */
  force?: boolean;
  /** The most copies that the policy keeps of any page; not checked when it is left out. */
  copies?: number;
  /** A directory of the store whose disk was replaced by an empty one. */
  replace?: string;
  files?: Files;
}

export interface InitResult {
  storeId: string;
  directories: string[];
  /** Those that got a marker now; none when the store was set up already. */
  marked: string[];
  allowSameDevice: boolean;
}

interface Candidate extends Devices {
  directory: string;
  exists: boolean;
  marker: Marker | null;
  /** Entries that are none of ours. */
  foreign: string[];
  /** Why others than this user decide what is in it; null when nobody does. */
  others: string | null;
}

/** Sets up the store at "DIR,DIR,...". Does nothing to one that is set up already. */
export async function initLocalStore(path: string, options: InitOptions = {}): Promise<InitResult> {
  const files = options.files ?? nodeFiles;
  const directories = parseDirectories(path);
  const candidates = await Promise.all(directories.map((directory) => inspect(files, directory)));
  if (options.replace !== undefined)
    return replaceOne(files, candidates, parseDirectories(options.replace)[0] ?? '', options);
  const marked = candidates.filter(({ marker }) => marker !== null);
  return marked.length > 0 ? existing(candidates) : createAll(files, candidates, options);
}

async function inspect(files: Files, directory: string): Promise<Candidate> {
  const devices = await devicesOf(files, directory);
  try {
    const names = await files.readdir(directory);
    const foreign = names.filter(
      (name) => name !== 'lost+found' && name !== MARKER_FILE && !isMarkerLeftover(name),
    );
    const others = await othersInDirectory(directory, files.stat);
    return {
      directory,
      exists: true,
      ...devices,
      marker: await readMarker(files, directory),
      foreign,
      others,
    };
  } catch (error) {
    if (!isMissing(error)) throw diskError(error, `looking at ${directory}`);
    const others = await othersAbove(directory, files.stat);
    return { directory, exists: false, ...devices, marker: null, foreign: [], others };
  }
}

/** What an initialisation left that was killed, of this version or of earlier ones. */
function isMarkerLeftover(name: string): boolean {
  return name === `.${MARKER_FILE}.tmp` || (name.startsWith(`.${MARKER_FILE}.`) && isTemporary(name));
}

/**
 * A store that is there must be there whole: a directory without marker may be a disk that is not mounted.
 */
function existing(candidates: readonly Candidate[]): InitResult {
  const markers = markersOf(candidates);
  const without = candidates.filter(({ marker }) => marker === null).map(({ directory }) => directory);
  if (without.length > 0) {
    throw new ParsError('refused', `these directories are a store already, except ${without.join(', ')}`, {
      hint: `if a disk is not mounted, mount it; if it was replaced by an empty one: --replace ${without[0]}`,
    });
  }
  const first = markers[0]!;
  return {
    storeId: first.storeId,
    directories: candidates.map(({ directory }) => directory),
    marked: [],
    allowSameDevice: first.allowSameDevice,
  };
}

async function createAll(
  files: Files,
  candidates: readonly Candidate[],
  { allowSameDevice: allowed = false, force = false, copies = 0 }: InitOptions,
): Promise<InitResult> {
  candidates.forEach(refuseForeign);
  if (!force) {
    refuseTooFew(candidates.length, copies);
    candidates.forEach(refuseOthers);
  }
  if (!allowed && !force) {
    refuseSameDevice(candidates);
    candidates.forEach(refuseUnmounted);
  }
  // What was forced is recorded too: doctor and report repeat it.
  const allowSameDevice = allowed || sameDevice(candidates) !== null;
  const storeId = newStoreId();
  const directories = candidates.map(({ directory }) => directory);
  const created = new Date().toISOString();
  try {
    for (const [index, { directory }] of candidates.entries()) {
      await mark(files, directory, {
        format: MARKER_FORMAT,
        storeId,
        index,
        directories,
        allowSameDevice,
        created,
      });
    }
  } catch (error) {
    await Promise.all(
      directories.map((directory) => bestEffort(files.rm(join(directory, MARKER_FILE), { force: true }))),
    );
    throw error;
  }
  return { storeId, directories, marked: directories, allowSameDevice };
}

async function replaceOne(
  files: Files,
  candidates: readonly Candidate[],
  directory: string,
  { allowSameDevice = false, force = false }: InitOptions,
): Promise<InitResult> {
  const target = candidates.find((candidate) => candidate.directory === directory);
  if (!target) throw new ParsError('usage', `${directory} is not one of the store's directories`);
  if (target.marker) throw new ParsError('refused', `${directory} has a marker: it was not replaced`);
  const others = candidates.filter((candidate) => candidate !== target);
  const model = markersOf(others)[0];
  if (!model)
    throw new ParsError('unreachable', 'no other directory of the store has a marker', {
      hint: 'mount at least one of its disks',
    });
  refuseForeign(target);
  if (!force) refuseOthers(target);
  if (!model.allowSameDevice && !allowSameDevice && !force) {
    refuseSameDevice(candidates);
    refuseUnmounted(target);
  }
  const directories = candidates.map((candidate) => candidate.directory);
  await mark(files, target.directory, {
    ...model,
    index: freeIndex(others, candidates.indexOf(target)),
    directories,
    created: new Date().toISOString(),
  });
  return { storeId: model.storeId, directories, marked: [directory], allowSameDevice: model.allowSameDevice };
}

/** The markers, if they are of one store and no two are the same. */
function markersOf(candidates: readonly Candidate[]): Marker[] {
  const marked = candidates.filter(
    (candidate): candidate is Candidate & { marker: Marker } => candidate.marker !== null,
  );
  const stranger = marked.find(({ marker }) => marker.storeId !== marked[0]?.marker.storeId);
  if (stranger)
    throw new ParsError(
      'refused',
      `${stranger.directory} belongs to another store than ${marked[0]?.directory}`,
    );
  const twin = marked.find(
    ({ marker }, i) => marked.findIndex((other) => other.marker.index === marker.index) !== i,
  );
  if (twin)
    throw new ParsError(
      'refused',
      `${twin.directory} has the same marker as another directory: one is a copy of the other`,
    );
  return marked.map(({ marker }) => marker);
}

function freeIndex(others: readonly Candidate[], wanted: number): number {
  const taken = new Set(others.map(({ marker }) => marker?.index));
  let index = wanted;
  while (taken.has(index)) index++;
  return index;
}

function refuseForeign({ directory, foreign }: Candidate): void {
  if (foreign.length === 0) return;
  throw new ParsError(
    'refused',
    `${directory} is not empty (${foreign.slice(0, 3).join(', ')}${foreign.length > 3 ? ', ...' : ''})`,
    { hint: 'give an empty directory' },
  );
}

/**
 * Who can write there can read every guest's memory, and make a host run anything at the next start (R24).
 */
function refuseOthers({ others }: Candidate): void {
  if (others === null) return;
  throw new ParsError('refused', `${others}: others than root decide what is in the store`, {
    hint:
      'chown root:root and chmod go-w, of the directory and of those above it; or --force, if that is '
      + 'meant',
  });
}

/** A policy that asks for more copies than there are directories can store nothing. */
function refuseTooFew(directories: number, copies: number): void {
  if (directories >= copies) return;
  const has = counted(directories, 'directory', 'directories');
  throw new ParsError('refused', `the policy keeps ${copies} copies, and the store has ${has}`, {
    hint:
      `name ${copies} directories, each the mount point of a disk, or a policy with fewer copies; `
      + `or --force`,
  });
}

async function mark(files: Files, directory: string, marker: Marker): Promise<void> {
  try {
    await files.mkdir(directory, { recursive: true, mode: DIRECTORY_MODE });
    await syncDirectory(files, join(directory, '..'));
    await writeMarker(files, directory, marker);
  } catch (error) {
    throw diskError(error, `setting up ${directory}`);
  }
}
