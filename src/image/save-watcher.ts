// SPDX-License-Identifier: Apache-2.0
/** Learns of finished saves from the kernel, by the program pars-watch: whole file systems, no polling. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, constants, readlink } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { ifThere, readIfThere } from '../system/absence.js';
import { ParsError } from '../errors.js';
import { builtBinary } from '../native.js';

export interface FinishedSave {
  image: string;
  /** Whether one of libvirt's own processes closed it: else it is a copy that somebody made. */
  byLibvirt: boolean;
}

const MAX_STDERR = 2048;

/**
 * Every save that is finished on the file systems that hold `directories`, from the first answer on, which is
 * null and says that the watch has begun; null again when the kernel has lost events. Ends with the signal;
 * throws when a directory cannot be watched.
 */
export async function* finishedSavesOn(
  directories: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<FinishedSave | null> {
  const program = builtBinary('pars-watch');
  await access(program, constants.X_OK).catch((cause: unknown) => {
    throw new ParsError('internal', 'pars-watch is not built', {
      hint: 'run "npm run build" in the directory of pars',
      cause,
    });
  });
  const child = spawn(program, directories, { stdio: ['pipe', 'pipe', 'pipe'], cwd: '/', env: {} });
  const stop = (): void => void child.kill('SIGKILL');
  signal.addEventListener('abort', stop, { once: true });
  const exit = once(child, 'exit');
  let said = '';
  child.stderr.on('data', (data: Buffer) => (said = (said + data.toString('utf8')).slice(0, MAX_STDERR)));
  try {
    if (signal.aborted) return;
    for await (const message of messagesOf(child.stdout)) yield await saveIn(message);
    await exit;
    if (!signal.aborted)
      throw new ParsError('refused', said.trim() || 'pars-watch ended', {
        hint: 'it needs root, Linux 5.9, and local file systems (not NFS)',
      });
  } finally {
    signal.removeEventListener('abort', stop);
    stop();
  }
}

/** The texts between NULs. */
async function* messagesOf(stream: Readable): AsyncGenerator<string> {
  let rest = Buffer.alloc(0);
  for await (const data of stream as AsyncIterable<Buffer>) {
    rest = Buffer.concat([rest, data]);
    for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
      yield rest.toString('utf8', 0, end);
      rest = rest.subarray(end + 1);
    }
  }
}

async function saveIn(message: string): Promise<FinishedSave | null> {
  const [, pid = '', image = ''] = /^(\d+) (\/.*)$/s.exec(message) ?? [];
  return image === '' ? null : { image, byLibvirt: await isLibvirts(pid) };
}

/**
 * libvirtd, virtqemud, libvirt_iohelper, of this host: a libvirt in another mount namespace (a container's)
 * has guests and hooks of its own. A process that has ended since was a helper: the daemon itself finishes a
 * save.
 */
async function isLibvirts(pid: string): Promise<boolean> {
  const name = (await readIfThere(`/proc/${pid}/comm`)) ?? '';
  if (!/^(libvirt|virtqemud)/.test(name)) return false;
  const ours = await readlink('/proc/self/ns/mnt');
  return (await ifThere(`/proc/${pid}/ns/mnt`, (path) => readlink(path), null)) === ours;
}
