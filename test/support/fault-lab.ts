// SPDX-License-Identifier: Apache-2.0
/** Offloads into a real HDFS in which something happens midway, and a look at what is left afterwards. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ParsError } from '../../src/errors.js';
import { ImageFile } from '../../src/image/image-file.js';
import { StubRegistry } from '../../src/image/stub-registry.js';
import { hydrate } from '../../src/lifecycle/hydrate.js';
import { offload } from '../../src/lifecycle/offload.js';
import type { Offloaded } from '../../src/lifecycle/offload-request.js';
import { restore } from '../../src/lifecycle/restore.js';
import { policyByName } from '../../src/policy/policy.js';
import { probeImage } from '../../src/reader/reader.js';
import { listSnapshots, readManifest, removeSnapshot } from '../../src/snapshot/snapshots.js';
import { initHdfsStore } from '../../src/stores/hdfs/init.js';
import { openStore } from '../../src/stores/open.js';
import type { Store } from '../../src/stores/store.js';
import { nameNodesOf, upload, WebHdfsClient } from '../../src/webhdfs/index.js';
import type { HdfsCluster } from './hdfs-cluster.js';
import { domainXml, smallImage } from './image-builder.js';

const MIB = 1 << 20;
/** 80 MiB of RAM, 48 MiB of it noise that takes three blocks. */
const FRAMES = 20_480;
/** Handed over when it happens: in the second block, with what may still wait in between. */
const MIDWAY_BYTES = 26 * MIB;

export class FaultLab {
  readonly image: string;
  readonly client: WebHdfsClient;
  readonly #committed = new Map<string, string>();
  readonly #host = { machineId: '0'.repeat(32), host: 'test' };
  readonly #registry: StubRegistry;
  readonly #digest: string;

  private constructor(
    readonly cluster: HdfsCluster,
    readonly dir: string,
    readonly root: string,
    readonly url: string,
    image: Buffer,
  ) {
    this.image = join(dir, 'saves', 'guest.save');
    this.client = new WebHdfsClient({ nameNodes: nameNodesOf(cluster.url), user: 'root' });
    this.#registry = new StubRegistry(join(dir, 'state'));
    this.#digest = digestOf(image);
  }

  /** A store that holds another guest's snapshot, and an image that is to follow. */
  static async create(cluster: HdfsCluster): Promise<FaultLab> {
    const dir = await mkdtemp(join(tmpdir(), 'pars-fault-'));
    for (const name of ['saves', 'state']) await mkdir(join(dir, name));
    const bytes = smallImage({ frames: FRAMES }).bytes;
    const lab = new FaultLab(cluster, dir, '/pars', `${cluster.url}/pars`, bytes);
    await writeFile(lab.image, bytes);
    await initHdfsStore(lab.url);
    const other = join(dir, 'saves', 'other.save');
    await writeFile(
      other,
      smallImage({ xml: domainXml({ uuid: '1'.repeat(8) + '-1111-1111-1111-' + '1'.repeat(12) }) }).bytes,
    );
    const digest = digestOf(readFileSync(other));
    lab.#committed.set((await lab.#offload(await openStore(lab.url), other)).snapshot, digest);
    return lab;
  }

  dispose(): Promise<void> {
    return rm(this.dir, { recursive: true, force: true });
  }

  /** What became of an offload in whose midst `act` was done. Throws when it was over before that. */
  async offload(act?: () => Promise<void>, url = this.url): Promise<Offloaded | ParsError> {
    let acted = false;
    const store = withAct(await openStore(url), async () => {
      acted = true;
      await act?.();
    });
    try {
      return await this.#offload(store, this.image);
    } catch (error) {
      if (error instanceof ParsError) return error;
      throw error;
    } finally {
      if (act && !acted) throw new Error('the offload did not come so far');
      await store.close();
    }
  }

  /**
   * The image is what it was, or a stub that becomes it again; every snapshot that was committed gives back
   * its image; there is no other.
   */
  async expectSound(outcome: Offloaded | ParsError): Promise<void> {
    const store = await openStore(this.url);
    const done = !(outcome instanceof ParsError);
    const known = [...this.#committed.keys(), ...(done ? [outcome.snapshot] : [])].sort();
    const seen = (await listSnapshots(store)).filter(({ condition }) => condition !== 'incomplete');
    const names = seen
      .map(({ snapshot, condition }) => (condition === 'whole' ? snapshot : `${snapshot} is ${condition}`))
      .sort();
    if (names.join() !== known.join())
      throw new Error(`snapshots: ${names.join(', ')}; expected: ${known.join(', ')}`);
    for (const [snapshot, digest] of this.#committed) await this.#expectRestores(store, snapshot, digest);
    if (done) await this.#expectStub(store, outcome);
    if (digestOf(await readFile(this.image)) !== this.#digest)
      throw new Error('the local image is not what it was');
    await store.close();
  }

  /** PUT SETQUOTA, without the start of another JVM. -1: none. */
  async setQuota(quota: { names?: number; bytes?: number }): Promise<void> {
    const addresses = nameNodesOf(this.cluster.url);
    const quotas = `namespacequota=${quota.names ?? -1}&storagespacequota=${quota.bytes ?? -1}`;
    const query = `op=SETQUOTA&user.name=root&${quotas}`;
    for (const address of addresses) {
      const response = await fetch(`${address}/webhdfs/v1${this.root}?${query}`, { method: 'PUT' });
      if (response.ok) return;
    }
    throw new Error('no NameNode set the quota');
  }

  /** Waits until so many DataNodes take blocks again: the NameNode learns of room by their heartbeats. */
  async untilRoom(copies: number, deadlineMs = 180_000): Promise<void> {
    const path = `${this.root}/room`;
    for (const deadline = Date.now() + deadlineMs; ; await sleep(200)) {
      try {
        await upload(this.client, path, [Buffer.alloc(1)], {
          replication: copies,
          blockSize: 16 * MIB,
          overwrite: true,
        });
        const [block] = await this.client.blockLocations(path);
        if ((block?.names.length ?? 0) >= copies) break;
      } catch (error) {
        if (Date.now() > deadline) throw error;
      }
      if (Date.now() > deadline) throw new Error(`no ${copies} DataNodes have room`);
    }
    await this.client.delete(path);
  }

  async usage(): Promise<{ names: number; bytes: number }> {
    const { fileCount, directoryCount, spaceConsumed } = await this.client.contentSummary(this.root);
    return { names: fileCount + directoryCount, bytes: spaceConsumed };
  }

  async #offload(store: Store, image: string): Promise<Offloaded> {
    return offload(
      image,
      { store, host: this.#host, registry: this.#registry },
      {
        policy: policyByName('pars'),
        policyIsFixed: true,
        keepLocal: false,
        force: false,
        managedSave: true,
        leaseWaitMs: 1000,
        level: 1,
      },
    );
  }

  /** Of a stub: three live copies of each block of it, and the image back in its place. */
  async #expectStub(store: Store, { snapshot }: Offloaded): Promise<void> {
    const image = await ImageFile.open(this.image);
    try {
      if ((await probeImage(image.fd)).stubRecord === null) throw new Error('the image is no stub');
      await this.#expectCopies(store, snapshot);
      await hydrate(
        image,
        { store: () => openStore(this.url), host: this.#host, registry: this.#registry },
        { force: false, acceptChangedDisks: false, lockWaitMs: 1000 },
      );
    } finally {
      await image.close();
    }
    await removeSnapshot(store, snapshot);
  }

  async #expectCopies(store: Store, snapshot: string): Promise<void> {
    const { objects } = await readManifest(store, snapshot);
    for (const { name, copies } of objects) {
      const blocks = await this.client.blockLocations(`${this.root}/${snapshot}/${name}`);
      const few = blocks.find(({ hosts }) => hosts.length < copies);
      if (few) throw new Error(`${name} has ${few.hosts.length} of ${copies} copies at ${few.offset}`);
    }
  }

  async #expectRestores(store: Store, snapshot: string, digest: string): Promise<void> {
    const path = join(this.dir, 'restored');
    await restore(store, snapshot, path, { force: true });
    if (digestOf(await readFile(path)) !== digest)
      throw new Error(`${snapshot} does not give back its image`);
  }
}

/**
 * The same store, but once so many bytes have been handed over, `act` is done before the next of the object
 * that had them.
 */
function withAct(store: Store, act: () => Promise<void>): Store {
  let acted = false,
    sent = 0;
  const create: Store['create'] = async (name, options) => {
    const writer = await store.create(name, options);
    const write = async (data: Buffer): Promise<void> => {
      await writer.write(data);
      sent += data.length;
      if (acted || sent < MIDWAY_BYTES) return;
      acted = true;
      await act();
    };
    return { write, close: () => writer.close(), abort: () => writer.abort() };
  };
  return new Proxy(store, {
    get(target, key) {
      if (key === 'create') return create;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

const digestOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
