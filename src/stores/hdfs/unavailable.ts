// SPDX-License-Identifier: Apache-2.0
/**
 * What is unavailable now, asked before a restore begins. The NameNode hands out DataNodes that are dead for
 * minutes after they died, so a little is read for each set of DataNodes that some block has its copies on:
 * what is silent then is left out of all further reads.
 */
import { ParsError } from '../../errors.js';
import { parseCoding } from '../coding.js';
import { blocksOf, standOf } from './blocks.js';
import type { HdfsFiles } from './files.js';
import { ObjectReader, type SilentNodes } from './object-reader.js';
import type { Stretch } from '../store.js';

/**
 * Sets of DataNodes that are tried; on a large cluster nearly every block has one of its own, and then
 * reading itself must tell.
 */
const MAX_PROBES = 256;

interface Block {
  name: string;
  path: string;
  offset: number;
  length: number;
  nodes: string;
  /** So many bytes touch each piece that is needed. */
  enough: number;
  /** Known without asking a DataNode. */
  gone: string | null;
}

export async function unavailableParts(
  files: HdfsFiles,
  silent: SilentNodes,
  names: readonly string[],
): Promise<Stretch[]> {
  const blocks: Block[] = [];
  const found: Stretch[] = [];
  for (const name of names) {
    const located = await locate(files, name);
    if (located === null)
      found.push({ name, offset: 0, bytes: Infinity, why: `${name} does not exist in HDFS` });
    else blocks.push(...located);
  }
  const outcomes = new Map<string, string | null>();
  for (const block of blocks) {
    const known = block.gone ?? outcomes.get(block.nodes);
    const why =
      known === undefined && outcomes.size < MAX_PROBES ? await probe(files, silent, block) : (known ?? null);
    if (block.gone === null) outcomes.set(block.nodes, why);
    if (why !== null)
      found.push({
        name: block.name,
        offset: block.offset,
        bytes: block.length,
        why: `the block at ${block.offset} of ${block.path} ${why}`,
      });
  }
  return found;
}

async function locate(files: HdfsFiles, name: string): Promise<Block[] | null> {
  const there = await files.find(files.pathOf(name));
  if (there === null) return null;
  const { path, status } = there;
  return (await blocksOf(files, path)).map((block) => {
    const { have, needed } = standOf(block, 1, status.ecPolicy);
    const gone =
      have >= needed
        ? null
        : `unavailable: of its pieces ${needed} are needed, ${have} are on DataNodes that are alive`;
    const enough =
      status.ecPolicy === undefined
        ? 1
        : parseCoding(status.ecPolicy).data * parseCoding(status.ecPolicy).cell;
    return {
      name,
      path,
      offset: block.offset,
      length: block.length,
      enough: Math.min(enough, block.length),
      nodes: `${status.ecPolicy ?? ''} ${[...block.names].sort().join(' ')}`,
      gone,
    };
  });
}

/**
 * Why it is unavailable; null when it is not. A bad copy is found by reading it: here only what is silent
 * counts.
 */
async function probe(
  files: HdfsFiles,
  silent: SilentNodes,
  { path, offset, enough }: Block,
): Promise<string | null> {
  const reader = new ObjectReader(files, path, silent);
  try {
    await reader.read(offset, enough);
    return null;
  } catch (error) {
    if (error instanceof ParsError && error.kind === 'unreachable') {
      const nodes = /: (too few|none|no DataNode) .*$/.exec(error.message)?.[0];
      return `unavailable${nodes ?? `: ${error.message}`}`;
    }
    if (error instanceof ParsError && error.kind !== 'internal') return null;
    throw error;
  } finally {
    reader.close();
  }
}
