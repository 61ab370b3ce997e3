// SPDX-License-Identifier: Apache-2.0
/**
 * kill -9 of offloads into a real HDFS and of hydrations from it: the image or a stub that works, and every
 * snapshot whole.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe } from 'vitest';
import { HdfsCluster } from '../support/hdfs-cluster.js';
import { hdfsFixture, type HdfsFixture } from '../support/hdfs-store.js';
import { smallImage } from '../support/image-builder.js';
import { buildEntry, KillLab } from '../support/kill-lab.js';
import { killedAnywhere } from '../support/killed-anywhere.js';
import { labMissing } from '../support/lab.js';

const INSTANTS = Number(process.env['PARS_KILL_INSTANTS'] ?? 5);

describe.skipIf(labMissing() !== undefined)('with a store in HDFS', () => {
  const directory = mkdtempSync(join(tmpdir(), 'pars-images-'));
  const image = join(directory, 'synthetic.save');
  let cluster: HdfsCluster;
  let fixture: HdfsFixture;

  beforeAll(async () => {
    writeFileSync(image, smallImage().bytes);
    await buildEntry();
    cluster = await HdfsCluster.start({ dataNodes: 3 });
  });
  afterAll(async () => {
    await cluster?.stop();
    rmSync(directory, { recursive: true, force: true });
  });
  afterEach(() => fixture.dispose());

  killedAnywhere(async () => {
    fixture = await hdfsFixture(cluster);
    return KillLab.create(image, fixture.url);
  }, INSTANTS);
});
