// SPDX-License-Identifier: Apache-2.0
/**
 * A real HDFS for tests (see scripts/hdfs): one cluster a suite. It ends with `stop`, or when this process
 * does.
 *
 *   const cluster = await HdfsCluster.start({ dataNodes: 3, ha: true });
 *   await cluster.kill('dn', 2);
 *   await cluster.stop();
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
export const HDFS_SCRIPT = fileURLToPath(new URL('../../scripts/hdfs', import.meta.url));

export interface HdfsOptions {
  dataNodes?: number;
  ha?: boolean;
  /** Kerberos and TLS. */
  secure?: boolean;
  /** The gateway as well. */
  httpfs?: boolean;
  /** A key provider with the key `pars`, for encryption zones (see `createZone`). */
  zones?: boolean;
  racks?: number;
  /** First of the ports to use; free ones by default. */
  port?: number;
  /** Erasure coding policies to enable; RS-3-2-1024k is. */
  policies?: string[];
  /** Size of each DataNode's disk, kept in memory. */
  diskMiB?: number;
  /** Any Hadoop setting. */
  settings?: Record<string, string>;
}

export interface Daemon {
  name: string;
  /** NameNodes: active, standby, starting, down, "active, safe mode". DataNodes: live, not live, down. */
  state: string;
  http: string;
  pid: number;
}

export class HdfsCluster {
  private constructor(
    readonly dir: string,
    /** webhdfs://HOST:PORT[,HOST:PORT], swebhdfs:// of a secure one */
    readonly url: string,
    readonly holder: ChildProcess,
  ) {}

  static async start(options: HdfsOptions = {}): Promise<HdfsCluster> {
    const dir = await mkdtemp(join(process.env['TMPDIR'] ?? '/var/tmp', 'pars-hdfs.'));
    const holder = spawn(HDFS_SCRIPT, ['-C', dir, 'run', ...upArguments(options)], {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    try {
      await readyOrThrow(holder);
      return new HdfsCluster(dir, (await run(HDFS_SCRIPT, ['-C', dir, 'url'])).stdout.trim(), holder);
    } catch (error) {
      await end(holder, dir);
      throw error;
    }
  }

  /** KILL by default; STOP and CONT freeze and thaw. */
  async kill(kind: 'nn' | 'dn', number: number, signal = 'KILL'): Promise<void> {
    await this.#call('kill', kind, String(number), signal);
  }

  /** Waits until the daemon is back. */
  async startDaemon(kind: 'nn' | 'dn', number: number): Promise<void> {
    await this.#call('start', kind, String(number));
  }

  /** The NameNode takes no copy away from a DataNode of which it has no full report since that came back. */
  async reportBlocks(): Promise<void> {
    await this.#call('report');
  }

  async failover(to: number): Promise<void> {
    await this.#call('failover', String(to));
  }

  /**
   * `exec('dfs', '-ls', '/')`: what it says on stdout; throws when it fails. A JVM of its own: one to two
   * seconds.
   */
  exec(...command: string[]): Promise<string> {
    return this.#call('exec', ...command);
  }

  /** Of an empty directory, which is made. */
  async createZone(path: string): Promise<void> {
    await this.exec('dfs', '-mkdir', '-p', path);
    await this.exec('crypto', '-createZone', '-keyName', 'pars', '-path', path);
  }

  /** A line each NameNode and DataNode. */
  async status(): Promise<Daemon[]> {
    const lines = (await this.#call('status')).trim().split('\n');
    return lines.map((line) => {
      const [, name, state, http, pid] = /^(\S+) +(.*?) +http (\S+) .*pid (\d+)$/.exec(line) ?? [];
      if (!name || !state || !http) throw new Error(`not a line of status: ${line}`);
      return { name, state, http, pid: Number(pid) };
    });
  }

  /** Of a secure one: the administrator's. */
  async delegationToken(): Promise<string> {
    return (await this.#call('token')).trim();
  }

  /** http://HOST:PORT of the gateway. */
  async httpfs(): Promise<string> {
    return (await this.#call('url', 'httpfs')).trim();
  }

  /** Of a secure one: its certificate authority. */
  get caFile(): string {
    return join(this.dir, 'secure', 'ca.pem');
  }

  /** Safe twice. */
  stop(): Promise<void> {
    return end(this.holder, this.dir);
  }

  async #call(...args: string[]): Promise<string> {
    return (await run(HDFS_SCRIPT, ['-C', this.dir, ...args], { maxBuffer: 16 << 20 })).stdout;
  }
}

function upArguments(options: HdfsOptions): string[] {
  const args = [String(options.dataNodes ?? 3)];
  for (const flag of ['ha', 'secure', 'httpfs', 'zones'] as const) if (options[flag]) args.push(`--${flag}`);
  if (options.racks !== undefined) args.push('--racks', String(options.racks));
  if (options.port !== undefined) args.push('--port', String(options.port));
  if (options.diskMiB !== undefined) args.push('--disk', String(options.diskMiB));
  args.push(...(options.policies ?? []).flatMap((policy) => ['--ec', policy]));
  return [
    ...args,
    ...Object.entries(options.settings ?? {}).flatMap(([key, value]) => ['-D', `${key}=${value}`]),
  ];
}

async function end(holder: ChildProcess, dir: string): Promise<void> {
  if (holder.exitCode === null && holder.signalCode === null) {
    const gone = once(holder, 'close');
    holder.stdin?.end();
    await gone;
  }
  await rm(dir, { recursive: true, force: true });
}

async function readyOrThrow(holder: ChildProcess): Promise<void> {
  const complaints: string[] = [];
  holder.stderr?.on('data', (chunk: Buffer) => complaints.push(chunk.toString()));
  if (!holder.stdout) throw new Error('the holder has no stdout');
  for await (const line of createInterface({ input: holder.stdout })) if (line === 'ready') return;
  throw new Error(`the cluster did not start: ${complaints.join('').trim()}`);
}
