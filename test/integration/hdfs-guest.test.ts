// SPDX-License-Identifier: Apache-2.0
/**
 * The main job with its store in a real HDFS of five DataNodes, some of them dead when the guest is to come
 * back.
 */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { NotedLoss } from '../../src/journal/losses.js';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { nameNodesOf, WebHdfsClient } from '../../src/webhdfs/index.js';
import { expectSound } from '../support/guest-judge.js';
import { HdfsCluster } from '../support/hdfs-cluster.js';
import { oneCopyBytes } from '../support/hdfs-holders.js';
import { spoilFirstBlock } from '../support/hdfs-store.js';
import { labMissing, type Guest } from '../support/lab.js';
import { bytesOnDisk, ParsHost, STUB_LIMIT } from '../support/pars-host.js';
import { WHOLE } from '../support/whole.js';

const PAGE = 4096;
const MIB = 1 << 20;
const ROOT = '/pars';
const CODED = '{base: lean, critical: rs-3-2}';

interface Verified {
  snapshots: { outcome: string; repair: { replicated: string[]; droppedPages: number } | null }[];
}

describe.skipIf(labMissing() !== undefined)('a guest whose store is in HDFS', () => {
  let cluster: HdfsCluster;
  let client: WebHdfsClient;
  let host: ParsHost;
  let guest: Guest;

  beforeAll(async () => {
    cluster = await HdfsCluster.start({ dataNodes: 5 });
    client = new WebHdfsClient({ nameNodes: nameNodesOf(cluster.url), user: 'root' });
    host = await ParsHost.start({ store: cluster.url + ROOT });
    await host.installHook();
    guest = await host.boot({ cmdline: 'pars.fill=55' });
  });
  afterAll(async () => {
    await host?.stop();
    await cluster?.stop();
  });
  afterEach(async () => {
    for (const { name, state } of await cluster.status())
      if (state === 'down') await cluster.startDaemon('dn', Number(name.slice(2)));
  });

  async function savedAndOffloaded(policy: string): Promise<Manifest> {
    await host.configure(policy);
    await guest.managedSave();
    await host.untilStub(guest.hostImagePath);
    return (await host.json<{ manifest: Manifest }>('show', await host.snapshotOf(guest))).manifest;
  }

  const kill = async (...numbers: number[]): Promise<void> => {
    for (const number of numbers) await cluster.kill('dn', number);
  };
  const losses = async (): Promise<NotedLoss[]> =>
    (await host.json<{ losses: NotedLoss[] }>('status')).losses;

  test(
    'comes back under lean with the DataNode dead that holds most of what is kept once, and it is '
      + 'noted what was lost',
    async () => {
      const manifest = await savedAndOffloaded('lean');
      const holders = await oneCopyBytes(client, ROOT, manifest);
      expect(holders.length, JSON.stringify(holders)).toBe(5);
      const [[fullest, bytes] = [0, 0]] = holders;
      expect(bytes).toBeGreaterThanOrEqual(8 * MIB);
      expect(bytes, JSON.stringify(holders)).toBeLessThan(
        holders.reduce((sum, [, held]) => sum + held, 0) / 2,
      );
      await kill(fullest);
      await guest.start();
      const { reads } = await expectSound(guest);
      const [noted] = await losses();
      expect(noted).toMatchObject({
        domain: guest.name,
        image: guest.imagePath,
        snapshot: manifest.snapshot,
      });
      const { unexpected, recovered } = noted!.losses;
      // What is lost is what lay there, compressed, and no more than was kept once.
      expect(unexpected * PAGE).toBeGreaterThanOrEqual(bytes);
      expect(unexpected).toBeLessThan(manifest.classes['clean-cache'].payloadPages);
      expect(recovered).toBe(unexpected);
      expect(reads * 512).toBeGreaterThan(recovered * PAGE * 0.5);
    },
  );

  test.runIf(WHOLE).each([
    [1, 5],
    [3, 4],
  ])('comes back with critical data in RS-3-2 and DataNodes %i and %i of five dead', async (...dead) => {
    const { objects } = await savedAndOffloaded(CODED);
    expect(objects.find(({ name }) => name === 'anon.0')).toMatchObject({
      copies: 1,
      coding: 'RS-3-2-1024k',
    });
    await kill(...dead);
    await guest.start();
    await expectSound(guest);
  });

  test('does not start with three of five dead, keeps its stub, and starts when one is back', async () => {
    const manifest = await savedAndOffloaded(CODED);
    const before = await fingerprint(guest.hostImagePath);
    await kill(1, 2, 3);
    await expect(guest.start()).rejects.toThrow(/pars: .*DataNode/s);
    expect(await fingerprint(guest.hostImagePath)).toEqual(before);
    expect(await guest.state()).toBe('shut off');
    await cluster.startDaemon('dn', 2);
    await expect.poll(() => fewestPieces(client, manifest), { timeout: 180_000 }).toBeGreaterThanOrEqual(3);
    await guest.start();
    await expectSound(guest);
  });

  test('comes back after verify --repair made copies again and gave up what no DataNode has', async () => {
    const { snapshot } = await savedAndOffloaded('lean');
    const anon = `${ROOT}/${snapshot}/anon.0`;
    await cluster.reportBlocks();
    await client.setReplication(anon, 2);
    // HDFS takes the copies away when it comes to it.
    const copies = async (): Promise<number[]> =>
      (await client.blockLocations(anon)).map(({ names }) => names.length);
    await expect.poll(async () => Math.max(...(await copies())), { timeout: 180_000 }).toBe(2);
    await spoilFirstBlock(cluster, `${ROOT}/${snapshot}/clean-cache.0`);
    const found = await host.try('verify', snapshot, '--json');
    expect(found.code, found.stdout + found.stderr).toBe(5);
    const { snapshots } = await host.json<Verified>('verify', snapshot, '--repair');
    expect(snapshots).toMatchObject([{ outcome: 'intact', repair: { replicated: ['anon.0'] } }]);
    expect(snapshots[0]?.repair?.droppedPages).toBeGreaterThan(0);
    await host.json<Verified>('verify', snapshot);
    await guest.start();
    await expectSound(guest);
  });
});

/** Of the full blocks of a snapshot's coded packs: live pieces of the one that has fewest. */
async function fewestPieces(client: WebHdfsClient, { snapshot, objects }: Manifest): Promise<number> {
  const pieces: number[] = [];
  for (const { name, coding } of objects) {
    if (coding === undefined) continue;
    const blocks = await client.blockLocations(`${ROOT}/.ec/${coding}/${snapshot}/${name}`);
    pieces.push(...blocks.filter(({ length }) => length > 2 * MIB).map(({ names }) => names.length));
  }
  return Math.min(...pieces);
}

/** A stub that was touched has another inode, length or other bytes. */
async function fingerprint(path: string): Promise<unknown> {
  const { ino, size } = await stat(path);
  return {
    ino,
    size,
    small: (await bytesOnDisk(path)) < STUB_LIMIT,
    sha256: createHash('sha256')
      .update(await readFile(path))
      .digest('hex'),
  };
}
