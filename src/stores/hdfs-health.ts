/**
 * What HDFS holds of an object. Copies are those the NameNode knows to be good and alive. Reading goes through every copy of every
 * block: a DataNode that meets a bad one reads on from another and tells the NameNode, so a bad copy shows by being known no more.
 */
import { ParsError } from '../errors.js';
import { NEVER_REACHED, openRange, readRange, WebHdfsError, type BlockLocation, type FileStatus } from '../webhdfs/index.js';
import type { Native } from '../native.js';
import { parseCoding } from './coding.js';
import { awaitPieces, blocksOf, placeOfBlock, type Stand, standOf } from './hdfs-blocks.js';
import type { HdfsFiles } from './hdfs-files.js';
import type { CopyFault, ObjectHealth, StoredObject } from './store.js';

type NewHash = Native['newHash'];

export async function inspectObject(files: HdfsFiles, newHash: NewHash, object: StoredObject, read: boolean): Promise<ObjectHealth> {
  const found = await files.find(files.pathOf(object.name));
  const none = (fault: CopyFault['fault'], detail: string): ObjectHealth => ({ good: 0, wanted: object.copies, faults: [{ place: found?.path ?? object.name, fault, detail }] });
  if (found?.status.type !== 'FILE') return none('missing', 'does not exist');
  const { path, status } = found;
  if (status.length !== object.bytes) return none('corrupt', `${status.length} bytes in HDFS, ${object.bytes} were written`);
  if (status.ecPolicy !== object.coding) return none('missing', `kept as ${status.ecPolicy ?? 'copies'}, not as ${object.coding ?? 'copies'}`);
  const before = await blocksOf(files, path);
  const faults = read ? await readEveryCopy(files, newHash, path, object, before) : [];
  const now = read ? await blocksOf(files, path) : before;
  const gone = read ? goneFrom(path, before, now).filter(({ place }) => !faults.some((fault) => fault.place === place)) : [];
  // A copy that HDFS has made meanwhile was not read.
  const seen = before.map((block, i): BlockLocation => withNames(block, block.names.filter((name) => now[i]?.names.includes(name) && !isAtFault(faults, path, block, name))));
  const health = healthOf(path, object, seen, [...faults, ...gone]);
  return faults.some(({ place }) => place === path) ? { ...health, good: 0 } : health;
}

const withNames = (block: BlockLocation, names: string[]): BlockLocation => ({ ...block, names, hosts: names });

/** By itself, or with all pieces of a coded block that could not be read. */
function isAtFault(faults: readonly CopyFault[], path: string, block: BlockLocation, name: string): boolean {
  const places = [[name], block.names].map((names) => placeOfBlock(path, withNames(block, names)));
  return faults.some(({ place }) => places.includes(place));
}

/** `good` is how many losses it takes until a byte is lost: the copies there are, or for coded data the pieces there are beyond those needed, and one. */
function healthOf(path: string, object: StoredObject, blocks: readonly BlockLocation[], faults: readonly CopyFault[]): ObjectHealth {
  const stands = blocks.map((block) => standOf(block, object.copies, object.coding));
  const wanted = object.coding === undefined ? object.copies : parseCoding(object.coding).parity + 1;
  const good = Math.max(0, Math.min(wanted, ...stands.map(({ have, needed }) => have - needed + 1)));
  const isTold = (block: BlockLocation): boolean => faults.some(({ place }) => place.startsWith(placeOfBlock(path, { ...block, hosts: [] })));
  const thin = blocks.filter((block, i) => stands[i]!.have < stands[i]!.all && !isTold(block));
  return { good, wanted, faults: [...faults, ...thin.map((block) => thinFault(path, block, standOf(block, object.copies, object.coding)))] };
}

function thinFault(path: string, block: BlockLocation, { have, all, needed }: Stand): CopyFault {
  const place = placeOfBlock(path, block);
  if (block.corrupt) return { place, fault: 'corrupt', detail: 'every copy fails its checksum' };
  if (have < needed) return { place, fault: 'unreachable', detail: needed === 1 ? 'no DataNode that is alive has it' : `${have} of its ${all} pieces are on DataNodes that are alive, ${needed} are needed` };
  return { place, fault: 'missing', detail: `${have} of ${all} ${needed === 1 ? 'copies' : 'pieces'} are on DataNodes that are alive` };
}

function goneFrom(path: string, before: readonly BlockLocation[], after: readonly BlockLocation[]): CopyFault[] {
  return before.flatMap((block, i) => {
    const still = new Set(after[i]?.names);
    const lost = block.names.filter((name) => !still.has(name));
    return lost.map((name): CopyFault => ({ place: placeOfBlock(path, withNames(block, [name])), fault: 'corrupt', detail: 'the copy failed its checksum when it was read' }));
  });
}

/** As often as there are copies, each time from other DataNodes; every time it must be what was written. */
async function readEveryCopy(files: HdfsFiles, newHash: NewHash, path: string, object: StoredObject, blocks: readonly BlockLocation[]): Promise<CopyFault[]> {
  // Of coded data only what is needed is read: whichever DataNode is asked gives the whole.
  const rounds = object.coding === undefined ? Math.max(1, ...blocks.map(({ names }) => names.length)) : 1;
  const faults: CopyFault[] = [];
  for (let round = 0; round < rounds; round++) {
    const hash = newHash();
    const wrong: CopyFault[] = [];
    for (const block of blocks) {
      const fault = await readOneCopy(files, path, block, sources(block, round, object), (piece) => hash.update(piece));
      if (fault !== null) wrong.push(fault);
    }
    faults.push(...wrong);
    if (wrong.length === 0 && hash.digest() !== object.xxh3) return [...faults, { place: path, fault: 'corrupt', detail: 'the bytes in HDFS are not those that were written' }];
  }
  return faults;
}

/** The DataNodes to read from: one copy's, or any of a coded block's. */
function sources({ names }: BlockLocation, round: number, { coding }: StoredObject): string[] {
  return coding === undefined ? names.slice(round % Math.max(1, names.length)).slice(0, 1) : names;
}

async function readOneCopy(files: HdfsFiles, path: string, block: BlockLocation, from: readonly string[], take: (piece: Buffer) => void): Promise<CopyFault | null> {
  const { offset, length, names } = block;
  if (from.length === 0) return null;
  try {
    const excludeDataNodes = names.filter((name) => !from.includes(name));
    const open = from.length === 1 ? openRange : readRange;
    for await (const piece of open(files.client, path, { offset, length, excludeDataNodes, signal: files.signal })) take(piece);
    return null;
  } catch (error) {
    files.signal?.throwIfAborted();
    if (!(error instanceof WebHdfsError)) throw error;
    const silent = error.kind === 'timeout' || error.kind === 'lost-block' || !error.dataNode || NEVER_REACHED.has(error.exception ?? '') || from.length > 1;
    return { place: placeOfBlock(path, withNames(block, [...from])), fault: silent ? 'unreachable' : 'corrupt', detail: error.message };
  }
}

/** The error for an object that is not proven to be there as often as it should. */
export function notProven({ name }: StoredObject, { good, wanted, faults }: ObjectHealth): ParsError {
  const kind = (['corrupt', 'unreachable'] as const).find((fault) => faults.some((one) => one.fault === fault)) ?? 'missing';
  const details = faults.slice(0, 3).map(({ place, detail }) => `${place}: ${detail}`);
  return new ParsError(kind, `${name}: ${good} of ${wanted} copies are proven (${details.join('; ')}${faults.length > 3 ? '; ...' : ''})`, {
    hint: 'see which DataNodes are down or full: hdfs dfsadmin -report',
  });
}

/** R21: the copies seen, not only asked for. A file that was asked for fewer will never have them. Gives back where its blocks lie. */
export async function proveCopies(files: HdfsFiles, path: string, { replication, ecPolicy }: FileStatus, object: StoredObject): Promise<BlockLocation[]> {
  const never = ecPolicy !== object.coding || (ecPolicy === undefined && replication < object.copies);
  const blocks = never ? await blocksOf(files, path) : await awaitPieces(files, path, object.copies, object.coding);
  const health = healthOf(path, object, blocks, []);
  if (health.good < health.wanted || health.faults.length > 0) throw notProven(object, health);
  if (ecPolicy !== object.coding) throw new ParsError('internal', `${path} is kept as ${ecPolicy ?? 'copies'}, not as ${object.coding ?? 'copies'}`);
  return blocks;
}

/** HDFS makes copies and pieces from its good ones by itself; it is told how many, and waited for. */
export async function mendObject(files: HdfsFiles, object: StoredObject): Promise<void> {
  const found = await files.find(files.pathOf(object.name));
  if (found === null) throw new ParsError('missing', `${object.name} has no good copy to make others from`);
  const { path, status } = found;
  if (object.coding === undefined && status.replication < object.copies) {
    await files.call(`asking for ${object.copies} copies of ${path}`, (client, call) => client.setReplication(path, object.copies, call));
  }
  const blocks = await awaitPieces(files, path, object.copies, object.coding);
  const health = healthOf(path, object, blocks, []);
  if (health.good === 0) throw notProven(object, health);
}
