// SPDX-License-Identifier: Apache-2.0
/**
 * A disk as its guest sees it, for what only QEMU can open: qemu-nbd exports it read-only to a socket of
 * ours. Its format is the one that the domain XML names, never probed.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chownSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Server as SocketServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { isThere } from '../system/absence.js';
import type { DiskBytes } from './disk-bytes.js';
import { openNbd } from './nbd-client.js';
import { JAIL_ENV, jailed, jailUid, oneLine, qemuTool } from './qemu-jail.js';
import { ParsError } from '../errors.js';

/** A block device graph as QEMU's -blockdev has it. */
export interface Blockdev {
  driver: string;
  [option: string]: unknown;
}

const POLL_MS = 20;
const MAX_STDERR = 2048;

/** Null when it is not installed. */
export function qemuNbd(): string | null {
  return qemuTool('qemu-nbd');
}

/** Throws 'missing' without qemu-nbd, 'unreachable' when it cannot open the disk. */
export async function openThroughQemu(
  graph: Blockdev,
  options: { network: boolean; signal: AbortSignal },
): Promise<DiskBytes> {
  const program = qemuNbd();
  if (program === null)
    throw new ParsError('missing', 'qemu-nbd is not installed', {
      hint: "install QEMU's tools (Debian: qemu-utils)",
    });
  const directory = await mkdtemp(join(tmpdir(), 'pars-nbd-'));
  const uid = jailUid();
  if (process.getuid?.() === 0) chownSync(directory, uid, uid);
  const socket = join(directory, 'socket');
  const relays: SocketServer[] = [];
  const reachable = await throughRelays(graph, join(directory, 'relay'), uid, relays);
  const words = [program, '--read-only', `--socket=${socket}`, `json:${JSON.stringify(reachable)}`];
  const server = new Server(jailed(words, options.network));
  const end = async (): Promise<void> => {
    await server.end();
    for (const relay of relays) relay.close();
    await rm(directory, { recursive: true, force: true });
  };
  try {
    const disk = await connected(server, socket, options.signal);
    return {
      bytes: disk.bytes,
      read: (offset, length) => disk.read(offset, length),
      close: () => disk.close().finally(end),
    };
  } catch (error) {
    await end();
    throw error;
  }
}

/**
 * UNIX sockets that the disk's servers listen on belong to others: QEMU gets one of its own for each, and we
 * pass on what it says.
 */
async function throughRelays(
  graph: Blockdev,
  prefix: string,
  uid: number,
  relays: SocketServer[],
): Promise<Blockdev> {
  const reachable: Blockdev = { driver: graph.driver };
  for (const [option, value] of Object.entries(graph)) {
    if (!isBlock(value)) reachable[option] = value;
    else if (value['type'] !== 'unix')
      reachable[option] = await throughRelays(value as Blockdev, prefix, uid, relays);
    else
      reachable[option] = {
        type: 'unix',
        path: await relayTo(String(value['path']), `${prefix}-${relays.length}`, uid, relays),
      };
  }
  return reachable;
}

function isBlock(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

async function relayTo(path: string, at: string, uid: number, relays: SocketServer[]): Promise<string> {
  const relay = createServer((client) => {
    const server = connect({ path });
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      one.on('error', () => other.destroy());
      one.pipe(other);
    }
  });
  relays.push(relay);
  await once(relay.listen(at), 'listening');
  if (process.getuid?.() === 0) chownSync(at, uid, uid);
  return at;
}

async function connected(server: Server, socket: string, signal: AbortSignal): Promise<DiskBytes> {
  for (;;) {
    if (signal.aborted) throw new ParsError('unreachable', 'QEMU did not open it in time');
    if (server.ended) throw new ParsError('unreachable', `QEMU cannot open it: ${await server.said()}`);
    if (await isThere(socket)) {
      // It does not listen yet, or has ended meanwhile, and says why.
      const disk = await openNbd({ path: socket }, '', signal).catch((error: unknown) => {
        if (signal.aborted) throw error;
      });
      if (disk !== undefined) return disk;
    }
    await wait(POLL_MS);
  }
}

class Server {
  readonly #child: ChildProcess;
  readonly #exit: Promise<unknown>;
  #stderr = '';

  constructor([program = '', ...args]: readonly string[]) {
    this.#child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], env: JAIL_ENV, cwd: '/' });
    this.#exit = once(this.#child, 'close').catch((error: unknown) => (this.#stderr += String(error)));
    this.#child.stderr?.on('data', (data: Buffer) => {
      if (this.#stderr.length < MAX_STDERR) this.#stderr += data.toString('utf8').slice(0, MAX_STDERR);
    });
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null || this.#child.pid === undefined;
  }

  /** What it said before it ended, on one line. */
  async said(): Promise<string> {
    await this.#exit;
    return oneLine(this.#stderr);
  }

  async end(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exit;
  }
}
