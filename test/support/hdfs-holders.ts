// SPDX-License-Identifier: Apache-2.0
/** Which DataNodes of a cluster of the laboratory hold what of a snapshot. */
import type { Manifest } from '../../src/snapshot/manifest.js';
import { objectPath } from '../../src/snapshot/snapshots.js';
import type { WebHdfsClient } from '../../src/webhdfs/index.js';

/** Bytes on each DataNode, by its number, of what a snapshot keeps once; the fullest first. */
export async function oneCopyBytes(
  client: WebHdfsClient,
  root: string,
  { snapshot, objects }: Manifest,
): Promise<[number, number][]> {
  const bytesOn = new Map<number, number>();
  for (const { name } of objects.filter(({ copies, coding }) => copies === 1 && coding === undefined)) {
    for (const { names, length } of await client.blockLocations(`${root}/${objectPath(snapshot, name)}`)) {
      for (const node of names.map(numberOf)) bytesOn.set(node, (bytesOn.get(node) ?? 0) + length);
    }
  }
  return [...bytesOn].sort(([, a], [, b]) => b - a);
}

/** DataNode i is at 127.0.1.i. */
export function numberOf(address: string): number {
  const [, number] = /^127\.0\.1\.(\d+)(?::\d+)?$/.exec(address) ?? [];
  if (number === undefined) throw new Error(`${address} is no DataNode of the laboratory`);
  return Number(number);
}
