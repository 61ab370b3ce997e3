// SPDX-License-Identifier: Apache-2.0
/** On how many hosts and racks the copies of an object really lie, by the locations of its blocks. */
import type { BlockLocation } from '../../webhdfs/index.js';
import type { Placement } from '../store.js';

/** Where a cluster that was told nothing of racks believes every DataNode to be. */
const NO_RACK = '/default-rack';

/**
 * Undefined when no block has a copy anywhere. Disks are not told: a NameNode names the DataNode, not its
 * volume.
 */
export function placementOf(blocks: readonly BlockLocation[]): Placement | undefined {
  const there = blocks.filter(({ names }) => names.length > 0);
  if (there.length === 0) return undefined;
  const racks = there.map(racksOf);
  const known = racks.filter((of) => of !== null);
  return {
    copies: Math.min(...there.map(({ names }) => names.length)),
    disks: null,
    hosts: Math.min(...there.map(({ hosts }) => new Set(hosts).size)),
    racks: known.length === racks.length ? Math.min(...known) : null,
  };
}

/** Null when the cluster does not know of racks. */
function racksOf({ topologyPaths = [], names }: BlockLocation): number | null {
  const racks = topologyPaths.map((path) => path.slice(0, path.lastIndexOf('/')));
  if (racks.length < names.length || racks.some((rack) => rack === NO_RACK || rack === '')) return null;
  return new Set(racks).size;
}
