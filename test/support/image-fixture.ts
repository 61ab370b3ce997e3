// SPDX-License-Identifier: Apache-2.0
/** An image beside a local store, which the test's own process offloads and hydrates. */
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ImageFile } from '../../src/image/image-file.js';
import { StubRegistry } from '../../src/image/stub-registry.js';
import { hydrate, type Hydrated } from '../../src/lifecycle/hydrate.js';
import { offload } from '../../src/lifecycle/offload.js';
import type { Offloaded, OffloadOptions } from '../../src/lifecycle/offload-request.js';
import { policyByName } from '../../src/policy/policy.js';
import type { Store } from '../../src/stores/store.js';
import { nodeFiles } from '../../src/stores/local/files.js';
import type { DiskPrimitives } from '../../src/stores/local/writer.js';
import { plainDisk } from './disk-primitives.js';
import { localFixture, type LocalFixture, PLACES } from './local-store.js';

export const HOST = { machineId: '0'.repeat(32), host: 'test' };

export interface ImageFixture extends LocalFixture {
  /** Where the image is to be. */
  image: string;
  /** By default into the fixture's own store. */
  offload(options?: Partial<OffloadOptions>, into?: Store): Promise<Offloaded>;
  /** What lies at `path`, by default the image. */
  hydrate(path?: string): Promise<Hydrated>;
  registry: StubRegistry;
}

/** `disk`: the addon's own, where copies are to be looked at again. */
export async function imageFixture(disk: DiskPrimitives = plainDisk, places = PLACES): Promise<ImageFixture> {
  const local = await localFixture(nodeFiles, disk, places);
  const { root, store } = local;
  const image = join(root, 'saves', 'g.save');
  mkdirSync(dirname(image));
  const registry = new StubRegistry(join(root, 'state'));
  return {
    ...local,
    image,
    offload: (options, into = store) =>
      offload(
        image,
        { store: into, host: HOST, registry },
        {
          policy: policyByName('pars'),
          policyIsFixed: true,
          keepLocal: false,
          force: false,
          managedSave: true,
          leaseWaitMs: 1000,
          level: 1,
          ...options,
        },
      ),
    registry,
    async hydrate(path = image) {
      const file = await ImageFile.open(path);
      return hydrate(
        file,
        { store: async () => store, host: HOST, registry },
        { force: false, acceptChangedDisks: false, lockWaitMs: 0 },
      ).finally(() => file.close());
    },
  };
}
