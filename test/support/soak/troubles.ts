// SPDX-License-Identifier: Apache-2.0
/** What goes wrong around the guests of a soak, one thing at a time, at random. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { nameNodesOf, WebHdfsClient } from '../../../src/webhdfs/index.js';
import type { HdfsCluster } from '../hdfs-cluster.js';
import type { ParsHost } from '../pars-host.js';
import type { Gate } from './gate.js';
import type { Random } from './random.js';

export const ROOT = '/pars';
const DATA_NODES = 3;
const NO_QUOTA = -1;

const TROUBLES = [
  'DataNode stopped',
  'DataNode killed',
  'NameNode stopped',
  'NameNode killed',
  'store full',
  'libvirtd restarted',
  'libvirtd killed',
  'Pars killed',
  'power cut',
] as const;
export type Trouble = (typeof TROUBLES)[number];

interface Period {
  kind: Trouble;
  from: number;
  /** Infinity while it lasts. */
  to: number;
}

export class Troubles {
  readonly #periods: Period[] = [];
  readonly #client: WebHdfsClient;
  #ending = false;

  constructor(
    readonly host: ParsHost,
    readonly cluster: HdfsCluster,
    readonly gate: Gate,
    readonly random: Random,
    readonly say: (line: string) => void,
  ) {
    this.#client = new WebHdfsClient({ nameNodes: nameNodesOf(cluster.url), user: 'root' });
  }

  /** Until `end` is called; all is in order again when it resolves. */
  async run(): Promise<void> {
    while (!this.#ending) {
      await sleep(this.random.between(6000, 20_000));
      if (!this.#ending) await this.#one(this.random.of(TROUBLES));
    }
  }

  end(): void {
    this.#ending = true;
  }

  /** Those that there were from then on, or shortly before: a store is found again some seconds later. */
  since(ms: number): Set<Trouble> {
    const found = this.#periods.filter(({ to }) => to > ms - AFTERMATH_MS);
    return new Set(found.map(({ kind }) => kind));
  }

  counts(): [Trouble, number][] {
    return TROUBLES.map((kind) => [kind, this.#periods.filter((one) => one.kind === kind).length]);
  }

  async #one(kind: Trouble): Promise<void> {
    const period = { kind, from: Date.now(), to: Infinity };
    this.#periods.push(period);
    this.say(`-- ${kind}`);
    await this.#make(kind);
    period.to = Date.now();
    this.say(`-- ${kind}: over after ${((period.to - period.from) / 1000).toFixed(1)} s`);
  }

  #pause(): Promise<void> {
    return sleep(this.random.between(2000, 15_000));
  }

  async #make(kind: Trouble): Promise<void> {
    const dataNode = 1 + Math.floor(this.random.next() * DATA_NODES);
    switch (kind) {
      case 'DataNode stopped':
        return this.#stopped('dn', dataNode);
      case 'DataNode killed':
        return this.#killed('dn', dataNode);
      case 'NameNode stopped':
        return this.#stopped('nn', 1);
      case 'NameNode killed':
        return this.#killed('nn', 1);
      case 'store full':
        return this.#full();
      case 'libvirtd restarted':
        return this.host.lab.restartLibvirtd();
      case 'libvirtd killed':
        return this.#killLibvirtd();
      case 'Pars killed':
        return this.#killPars();
      case 'power cut':
        return this.gate.alone(() => this.#cutPower());
    }
  }

  async #stopped(kind: 'nn' | 'dn', number: number): Promise<void> {
    await this.cluster.kill(kind, number, 'STOP');
    await this.#pause();
    await this.cluster.kill(kind, number, 'CONT');
  }

  async #killed(kind: 'nn' | 'dn', number: number): Promise<void> {
    await this.cluster.kill(kind, number);
    await this.#pause();
    await this.cluster.startDaemon(kind, number);
  }

  async #full(): Promise<void> {
    const { spaceConsumed } = await this.#client.contentSummary(ROOT);
    await this.setQuota(Math.max(1, spaceConsumed));
    await this.#pause();
    await this.setQuota(NO_QUOTA);
  }

  async setQuota(bytes: number): Promise<void> {
    await this.#put(ROOT, `op=SETQUOTA&namespacequota=-1&storagespacequota=${bytes}`);
  }

  /** As if it were that long ago that the file was written. */
  async age(path: string, byMs: number): Promise<void> {
    await this.#put(path, `op=SETTIMES&modificationtime=${Date.now() - byMs}&accesstime=-1`);
  }

  /** A file that has gone since it was listed is none to change. */
  async #put(path: string, query: string): Promise<void> {
    const [address] = nameNodesOf(this.cluster.url);
    const response = await fetch(`${address}/webhdfs/v1${path}?${query}&user.name=root`, { method: 'PUT' });
    if (!response.ok && response.status !== 404)
      throw new Error(`${query} of ${path}: ${await response.text()}`);
  }

  async #killLibvirtd(): Promise<void> {
    const { dir } = this.host.lab;
    const script = `kill -9 "$(cat ${dir}/libvirtd.pid)"
      until libvirtd -d -p ${dir}/libvirtd.pid; do sleep 0.2; done
      virsh -q -c qemu:///system capabilities >/dev/null`;
    const { code, stderr } = await this.host.lab.exec('sh', ['-c', script]);
    if (code !== 0) throw new Error(`libvirtd does not start again: ${stderr}`);
  }

  /** In the lab's PID namespace there is nobody else's. */
  async #killPars(): Promise<void> {
    const script = `for p in /proc/[0-9]*; do pid=\${p#/proc/}; [ "$pid" = $$ ] && continue
      if tr '\\0' ' ' <"$p/cmdline" 2>/dev/null | grep -Eq 'cli\\.js|pars-reader|work-off'
      then kill -9 "$pid"; fi; done; true`;
    await this.host.lab.exec('sh', ['-c', script]);
  }

  async #cutPower(): Promise<void> {
    await this.host.powerCut();
    await promisify(execFile)('sync');
    await writeFile('/proc/sys/vm/drop_caches', '1\n');
  }
}

const AFTERMATH_MS = 15_000;
