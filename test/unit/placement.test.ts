// SPDX-License-Identifier: Apache-2.0
/** Many copies are not many disks: what is told of where critical data lies. */
import { describe, expect, it } from 'vitest';
import { criticalPlacement, describePlacement, placementWarning } from '../../src/health/placement.js';
import type { SnapshotHealth } from '../../src/health/snapshot-health.js';
import { placementOf } from '../../src/stores/hdfs/topology.js';
import type { Placement } from '../../src/stores/store.js';
import type { BlockLocation } from '../../src/webhdfs/index.js';

/** A block on "HOST@RACK" each. */
function block(...at: string[]): BlockLocation {
  const [hosts, names] = [at.map((one) => one.replace(/@.*/, '')), at.map((_, i) => `10.0.0.${i}:9866`)];
  const topologyPaths = at.map((one, i) => `${one.replace(/.*@/, '/')}/${names[i]}`);
  return { offset: 0, length: 1, corrupt: false, hosts, names, topologyPaths };
}

const none: Placement = { copies: 3, disks: null, hosts: null, racks: null };

describe('where an object in HDFS lies', () => {
  it('is told of its worst block', () => {
    expect(placementOf([block('a@r1', 'b@r2', 'c@r2'), block('a@r1', 'b@r1', 'a@r1')])).toEqual({
      copies: 3,
      disks: null,
      hosts: 2,
      racks: 1,
    });
  });

  it('is not told of racks where the cluster knows of none', () => {
    expect(placementOf([block('a@default-rack', 'b@default-rack')])).toMatchObject({ hosts: 2, racks: null });
    expect(placementOf([{ ...block('a@r1', 'b@r2'), topologyPaths: undefined }])).toMatchObject({
      racks: null,
    });
    expect(placementOf([block()])).toBeUndefined();
  });
});

describe('the copies of critical data', () => {
  it.each<[Partial<Placement>, string, string | null]>([
    [{ hosts: 3, racks: 2 }, '3 copies on 3 hosts in 2 racks', null],
    [{ hosts: 3 }, '3 copies on 3 hosts', null],
    [{ hosts: 3, racks: 1 }, '3 copies on 3 hosts in 1 rack', 'a rack that fails takes all of them'],
    [{ hosts: 2, racks: 2 }, '3 copies on 2 hosts in 2 racks', 'a host that fails takes two or more of 3'],
    [{ disks: 1 }, '3 copies on 1 disk', 'a disk that fails takes all of them'],
    [{ copies: 1, hosts: 1, racks: 1 }, '1 copy on 1 host in 1 rack', null],
  ])('%j: %s', (changes, text, warning) => {
    expect(describePlacement({ ...none, ...changes })).toBe(text);
    expect(placementWarning({ ...none, ...changes })).toBe(warning);
  });

  it('are judged by the critical object that lies on fewest, whatever expendable ones do', () => {
    const finding = (critical: boolean, placement?: Placement): unknown => ({
      critical,
      health: { placement },
    });
    const health = (...findings: unknown[]): SnapshotHealth => ({ findings }) as SnapshotHealth;
    const [wide, narrow] = [
      { ...none, hosts: 3, racks: 2 },
      { ...none, copies: 2, hosts: 2, racks: 2 },
    ];
    expect(criticalPlacement(health(finding(true, wide), finding(false, { ...none, hosts: 1 })))).toEqual(
      wide,
    );
    expect(criticalPlacement(health(finding(true, wide), finding(true, narrow)))).toEqual(narrow);
    expect(criticalPlacement(health(finding(true)))).toBeNull();
  });
});
