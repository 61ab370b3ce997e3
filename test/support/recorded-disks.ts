// SPDX-License-Identifier: Apache-2.0
/** Disks in a directory of their own, recorded as an offload does and compared as a start does (R26). */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkDisks } from '../../src/disks/compare.js';
import type { NamedDisk, NetworkSource } from '../../src/disks/named-disk.js';
import { type RecordedDisk, recordDisks } from '../../src/disks/record.js';

export const MiB = 1 << 20;

export class DiskDirectory {
  readonly path = mkdtempSync(join(tmpdir(), 'pars-disks-'));
  /** Undone in reverse order by `close`. */
  readonly undo: (() => void)[] = [];

  /** What a comparison may ask: the pools of this directory, not libvirt. */
  readonly options = { askLibvirt: false as const, poolDirectories: [join(this.path, 'pools')] };

  readonly record = async (disk: NamedDisk): Promise<RecordedDisk[]> => recordDisks([disk], this.options);

  readonly check = (recorded: RecordedDisk[], disk?: NamedDisk): Promise<void> =>
    checkDisks(recorded, { ...this.options, acceptUncompared: false, ...(disk && { named: [disk] }) });

  newFile(name: string, bytes = MiB): string {
    const path = join(this.path, name);
    closeSync(openSync(path, 'w'));
    truncateSync(path, bytes);
    return path;
  }

  close(): void {
    for (const step of this.undo.reverse()) step();
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** All that a disk says of itself goes through JSON once. */
export function stored(recorded: RecordedDisk[]): RecordedDisk[] {
  return JSON.parse(JSON.stringify(recorded)) as RecordedDisk[];
}

export function run(program: string, ...args: string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
}

/** The export `name` of the NBD server at a socket of this host. */
export function nbd(socket: string, name = ''): NetworkSource {
  return {
    protocol: 'nbd',
    name,
    hosts: [{ transport: 'unix', name: '', port: '', socket }],
    tls: false,
    user: '',
    secret: false,
    config: '',
    snapshot: '',
    query: '',
  };
}
