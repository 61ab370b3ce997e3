// SPDX-License-Identifier: Apache-2.0
/** What is asked of a NameNode beside its files: the time, and how many DataNodes there are. */
import { afterEach, describe, expect, it } from 'vitest';
import { HdfsFiles } from '../../src/stores/hdfs/files.js';
import { countNodes } from '../../src/stores/hdfs/nodes.js';
import { NameNodeClock } from '../../src/stores/hdfs/sweep.js';
import { failure } from '../contract/store.js';
import { type Asked, entry, Hostile, MISSING, type Reply } from '../support/hostile-hdfs.js';

const hostile = new Hostile();
afterEach(() => hostile.stop());

const filesOf = (...ports: readonly number[]): HdfsFiles =>
  new HdfsFiles({
    url: 'webhdfs://fake/s',
    root: '/s',
    options: { nameNodes: ports.map((port) => `http://127.0.0.1:${port}`), patienceMs: 60_000 },
  });

describe('the clock of a NameNode', () => {
  it('is not known, and later is, when its directory was not there to be seen', async () => {
    let isThere = false;
    const script = ({ op }: Asked): Reply =>
      op === 'GETFILESTATUS'
        ? isThere
          ? { json: { FileStatus: entry('', 'DIRECTORY') } }
          : MISSING
        : { json: { boolean: true } };
    const { port } = await hostile.serve(script);
    const clock = new NameNodeClock(filesOf(port));
    await failure(clock.now(), 'unreachable');
    isThere = true;
    expect(await clock.now()).toBeGreaterThan(0);
  });
});

describe('the DataNodes', () => {
  it('are counted by the NameNode that is active, not by one that has just come back', async () => {
    const counting =
      (live: number, other: Reply) =>
      (asked: Asked): Reply =>
        asked.path === '/jmx'
          ? {
              json: {
                beans: [
                  { NumLiveDataNodes: live, NumDeadDataNodes: 3 - live, CapacityRemaining: live << 20 },
                ],
              },
            }
          : other;
    const standby = await hostile.serve(
      counting(0, {
        status: 403,
        body: JSON.stringify({ RemoteException: { exception: 'StandbyException', message: 'standby' } }),
      }),
    );
    const active = await hostile.serve(counting(3, { json: { FileStatus: entry('', 'DIRECTORY') } }));
    const files = filesOf(standby.port, active.port);
    expect(await files.status('/s')).not.toBeNull();
    expect(await countNodes(files)).toMatchObject({ live: 3, dead: 0 });
  });
});
