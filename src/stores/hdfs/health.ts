// SPDX-License-Identifier: Apache-2.0
/**
 * What HDFS holds of an object: copies that the NameNode knows to be good and alive, and when they are read,
 * those that were read to the end.
 */
import { ParsError } from '../../errors.js';
import type { BlockLocation, FileStatus } from '../../webhdfs/index.js';
import type { Native } from '../../native.js';
import { parseCoding } from '../coding.js';
import { awaitPieces, blocksOf, placeOfBlock, type Stand, standOf } from './blocks.js';
import { CopiesReader } from './copies-reader.js';
import type { HdfsFiles } from './files.js';
import { placementOf } from './topology.js';
import type { CopyFault, ObjectHealth, StoredObject } from '../store.js';

type NewHash = Native['newHash'];

export async function inspectObject(
  files: HdfsFiles,
  newHash: NewHash,
  object: StoredObject,
  read: boolean,
): Promise<ObjectHealth> {
  const found = await files.find(files.pathOf(object.name));
  const none = (fault: CopyFault['fault'], detail: string): ObjectHealth => ({
    good: 0,
    wanted: object.copies,
    faults: [{ place: found?.path ?? object.name, fault, detail }],
  });
  if (found?.status.type !== 'FILE') return none('missing', 'does not exist');
  const { path, status } = found;
  if (status.length !== object.bytes)
    return none('corrupt', `${status.length} bytes in HDFS, ${object.bytes} were written`);
  if (status.ecPolicy !== object.coding)
    return none('missing', `kept as ${status.ecPolicy ?? 'copies'}, not as ${object.coding ?? 'copies'}`);
  const { good, faults } = read
    ? await new CopiesReader(files, newHash, path, object).read()
    : { good: await blocksOf(files, path), faults: [] };
  const health = healthOf(path, object, good, faults);
  return faults.some(({ place }) => place === path) ? { ...health, good: 0 } : health;
}

/**
 * `good` is how many losses it takes until a byte is lost: the copies there are, or for coded data the pieces
 * there are beyond those needed, and one.
 */
function healthOf(
  path: string,
  object: StoredObject,
  blocks: readonly BlockLocation[],
  faults: readonly CopyFault[],
): ObjectHealth {
  const stands = blocks.map((block) => standOf(block, object.copies, object.coding));
  const wanted = object.coding === undefined ? object.copies : parseCoding(object.coding).parity + 1;
  const good = Math.max(0, Math.min(wanted, ...stands.map(({ have, needed }) => have - needed + 1)));
  const isTold = (block: BlockLocation): boolean =>
    faults.some(({ place }) => place.startsWith(placeOfBlock(path, { ...block, hosts: [] })));
  const thin = blocks.filter((block, i) => stands[i]!.have < stands[i]!.all && !isTold(block));
  const placement = placementOf(blocks);
  const untold = untoldFault(path, object, blocks);
  return {
    good: untold.length > 0 ? 0 : good,
    wanted,
    faults: [
      ...faults,
      ...untold,
      ...thin.map((block) => thinFault(path, block, standOf(block, object.copies, object.coding))),
    ],
    ...(placement && { placement }),
  };
}

/** Nobody knows where bytes lie that are in no block that the NameNode tells of. */
function untoldFault(path: string, { bytes }: StoredObject, blocks: readonly BlockLocation[]): CopyFault[] {
  const last = blocks.at(-1);
  const told = last === undefined ? 0 : last.offset + last.length;
  if (told >= bytes) return [];
  const detail = `the NameNode tells of blocks of ${told} of its ${bytes} bytes`;
  return [{ place: path, fault: 'unreachable', detail }];
}

function thinFault(path: string, block: BlockLocation, { have, all, needed }: Stand): CopyFault {
  const place = placeOfBlock(path, block);
  if (block.corrupt) return { place, fault: 'corrupt', detail: 'every copy fails its checksum' };
  if (have < needed)
    return {
      place,
      fault: 'unreachable',
      detail:
        needed === 1
          ? 'no DataNode that is alive has it'
          : `${have} of its ${all} pieces are on DataNodes that are alive, ${needed} are needed`,
    };
  return {
    place,
    fault: 'missing',
    detail: `${have} of ${all} ${needed === 1 ? 'copies' : 'pieces'} are on DataNodes that are alive`,
  };
}

/** The error for an object that is not proven to be there as often as it should. */
export function notProven({ name }: StoredObject, { good, wanted, faults }: ObjectHealth): ParsError {
  const kind =
    (['corrupt', 'unreachable'] as const).find((fault) => faults.some((one) => one.fault === fault))
    ?? 'missing';
  const details = faults.slice(0, 3).map(({ place, detail }) => `${place}: ${detail}`);
  return new ParsError(
    kind,
    `${name}: ${good} of ${wanted} copies are proven `
      + `(${details.join('; ')}${faults.length > 3 ? '; ...' : ''})`,
    { hint: 'see which DataNodes are down or full: hdfs dfsadmin -report' },
  );
}

/**
 * R21: the copies seen, not only asked for. A file that was asked for fewer will never have them. Gives back
 * where its blocks lie.
 */
export async function proveCopies(
  files: HdfsFiles,
  path: string,
  { replication, ecPolicy }: FileStatus,
  object: StoredObject,
): Promise<BlockLocation[]> {
  const never = ecPolicy !== object.coding || (ecPolicy === undefined && replication < object.copies);
  const blocks = never
    ? await blocksOf(files, path)
    : await awaitPieces(files, path, object.copies, object.coding);
  const health = healthOf(path, object, blocks, []);
  if (health.good < health.wanted || health.faults.length > 0) throw notProven(object, health);
  if (ecPolicy !== object.coding)
    throw new ParsError(
      'internal',
      `${path} is kept as ${ecPolicy ?? 'copies'}, not as ${object.coding ?? 'copies'}`,
    );
  return blocks;
}

/** HDFS makes copies and pieces from its good ones by itself; it is told how many, and waited for. */
export async function replicateObject(files: HdfsFiles, object: StoredObject, waitMs: number): Promise<void> {
  const found = await files.find(files.pathOf(object.name));
  if (found === null) throw new ParsError('missing', `${object.name} has no good copy to make others from`);
  const { path, status } = found;
  if (object.coding === undefined && status.replication < object.copies) {
    await files.call(`asking for ${object.copies} copies of ${path}`, (client, call) =>
      client.setReplication(path, object.copies, call),
    );
  }
  const blocks = await awaitPieces(files, path, object.copies, object.coding, waitMs);
  const health = healthOf(path, object, blocks, []);
  if (health.good < health.wanted) throw notProven(object, health);
}
