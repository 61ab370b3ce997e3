// SPDX-License-Identifier: Apache-2.0
/**
 * Faults during an upload into a real HDFS (an HA pair, four DataNodes): whatever happens, the local image
 * and every committed snapshot are byte for byte what they were, no half snapshot is seen, and an error says
 * what to do. R17, R20.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ParsError, type ErrorKind } from '../../src/errors.js';
import type { Offloaded } from '../../src/lifecycle/offload-request.js';
import { FaultLab } from '../support/fault-lab.js';
import { HdfsCluster } from '../support/hdfs-cluster.js';
import { emptyDisks, fillDisks, pipelineOf } from '../support/hdfs-pipeline.js';
import { labMissing } from '../support/lab.js';

const MIB = 1 << 20;
/** Room for all that is stored here, so that a full one is full by its filler. */
const DISK_MIB = 512;
const ALL = [1, 2, 3, 4];

describe.skipIf(labMissing() !== undefined)('an offload into HDFS', () => {
  let cluster: HdfsCluster;
  let lab: FaultLab;
  let outcome: Offloaded | ParsError;

  beforeAll(async () => {
    cluster = await HdfsCluster.start({ dataNodes: ALL.length, ha: true, diskMiB: DISK_MIB });
    lab = await FaultLab.create(cluster);
  });
  afterAll(async () => {
    await cluster?.stop();
    await lab?.dispose();
  });

  const isError = (kind: ErrorKind, message: RegExp, hint: RegExp): void =>
    expect(outcome).toMatchObject({
      name: 'ParsError',
      kind,
      message: expect.stringMatching(message),
      hint: expect.stringMatching(hint),
    });
  const isDone = (): void => expect(outcome).toMatchObject({ stub: true, alreadyStub: false });
  /** A fault that must not be felt; and at any rate nothing may be harmed by it. */
  const soundAfter = async (act?: () => Promise<void>, url?: string): Promise<void> => {
    outcome = await lab.offload(act, url);
    await lab.expectSound(outcome);
  };

  it('goes through when nothing happens', async () => {
    await soundAfter();
    isDone();
  });

  it('is refused without permission', async () => {
    await soundAfter(undefined, `${lab.url}?user=nobody`);
    isError('refused', /Permission denied/i, /chown/);
  });

  it('meets a quota of space midway', async () => {
    await lab.setQuota({ bytes: (await lab.usage()).bytes + 100 * MIB });
    await soundAfter();
    isError('no-space', /quota/i, /quota.*prune/);
    await lab.setQuota({});
  });

  it('meets a quota of names', async () => {
    await lab.setQuota({ names: (await lab.usage()).names + 1 });
    await soundAfter();
    isError('no-space', /quota/i, /quota.*prune/);
    await lab.setQuota({});
  });

  it('meets safe mode midway', async () => {
    outcome = await lab.offload(async () => void (await cluster.exec('dfsadmin', '-safemode', 'enter')));
    await cluster.exec('dfsadmin', '-safemode', 'leave');
    await lab.expectSound(outcome);
    isError('unreachable', /safe mode/i, /safemode leave/);
  });

  it('does not feel a failover', async () => {
    await soundAfter(() => cluster.failover(2));
    isDone();
  });

  it('does not feel that the active NameNode is killed, and back after a while', async () => {
    await soundAfter(async () => {
      await cluster.kill('nn', 2);
      await cluster.startDaemon('nn', 2);
      await cluster.failover(2);
    });
    isDone();
  });

  /**
   * It is not felt, or the offload ends with words and goes through when begun again: what the pipeline did
   * at that instant decides.
   */
  const expectSurvives = async (harm: () => Promise<void>, heal: () => Promise<void>): Promise<void> => {
    await soundAfter(harm).finally(heal);
    if (!(outcome instanceof ParsError)) return isDone();
    isError('unreachable', /pars/, /again|reachable/);
    await soundAfter();
    isDone();
  };

  it.each(['others', 'receiver'] as const)(
    'survives that a DataNode of the pipeline is killed: of its %s',
    async (role) => {
      let killed = 0;
      const harm = async (): Promise<void> => {
        killed = [(await pipelineOf(cluster))[role]].flat()[0] ?? 0;
        await cluster.kill('dn', killed);
      };
      await expectSurvives(harm, () => cluster.startDaemon('dn', killed));
    },
  );

  it('survives that the disk of one DataNode of the pipeline is full', async () => {
    let full: number[] = [];
    const harm = async (): Promise<void> => {
      full = (await pipelineOf(cluster)).others.slice(0, 1);
      await fillDisks(cluster, full);
    };
    await expectSurvives(harm, () => emptyDisks(cluster, full).then(() => lab.untilRoom(3)));
  });

  it('ends when every disk is full midway', async () => {
    outcome = await lab.offload(() => fillDisks(cluster, ALL));
    await emptyDisks(cluster, ALL);
    // One whose blocks were all begun finds out by the copies that are missing.
    expect(outcome).toMatchObject({
      name: 'ParsError',
      kind: expect.stringMatching(/^(no-space|missing)$/),
      hint: expect.stringMatching(/DataNode/),
    });
    await lab.untilRoom(3);
    await lab.expectSound(outcome);
    await soundAfter();
    isDone();
  });
});
