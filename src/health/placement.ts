// SPDX-License-Identifier: Apache-2.0
/** Many copies are not many disks: where those of a snapshot's critical data really lie, in words. */
import type { Placement } from '../stores/store.js';
import { counted } from '../system/counted.js';
import type { SnapshotHealth } from './snapshot-health.js';

const UNITS = ['disks', 'hosts', 'racks'] as const;
const ONE = { disks: 'disk', hosts: 'host', racks: 'rack' } as const;

/** Of the critical object that lies on fewest of each; null when the store tells nothing. */
export function criticalPlacement({ findings }: SnapshotHealth): Placement | null {
  const critical = findings.filter((finding) => finding.critical);
  const placements = critical.flatMap(({ health: { placement } }) => (placement ? [placement] : []));
  if (placements.length === 0) return null;
  const fewest = (of: (placement: Placement) => number | null): number | null => {
    const told = placements.map(of).filter((count) => count !== null);
    return told.length === 0 ? null : Math.min(...told);
  };
  return {
    copies: fewest(({ copies }) => copies) ?? 0,
    disks: fewest(({ disks }) => disks),
    hosts: fewest(({ hosts }) => hosts),
    racks: fewest(({ racks }) => racks),
  };
}

/** "3 copies on 3 hosts in 2 racks"; units that the store does not tell are left out. */
export function describePlacement(placement: Placement): string {
  const where = UNITS.flatMap((unit) => {
    const count = placement[unit];
    return count === null ? [] : [`${unit === 'racks' ? 'in' : 'on'} ${counted(count, ONE[unit], unit)}`];
  });
  return [counted(placement.copies, 'copy', 'copies'), ...where].join(' ');
}

/**
 * What is lost together although it is kept several times; null when nothing is. HDFS keeps three copies in
 * two racks, so that one rack takes no more than two.
 */
export function placementWarning({ copies, disks, hosts, racks }: Placement): string | null {
  if (disks !== null && disks < copies) return `a disk that fails takes ${togetherOf(copies, disks)}`;
  if (hosts !== null && hosts < copies) return `a host that fails takes ${togetherOf(copies, hosts)}`;
  if (racks === 1 && copies > 1) return 'a rack that fails takes all of them';
  return null;
}

const togetherOf = (copies: number, places: number): string =>
  places === 1 ? 'all of them' : `two or more of ${copies}`;
