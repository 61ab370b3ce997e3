// SPDX-License-Identifier: Apache-2.0
/**
 * libvirt's own client, on the system's libvirt. Never from a hook: libvirt waits for those, and would wait
 * for itself.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ParsError } from '../errors.js';

export const LIBVIRT_URI = 'qemu:///system';
const MAX_OUTPUT_BYTES = 64 << 20;

/** Runs one command of virsh and gives what it prints; a failure is execFile's, with its words in English. */
export async function runVirsh(
  args: readonly string[],
  { timeoutMs = 0 }: { timeoutMs?: number } = {},
): Promise<string> {
  const options = { timeout: timeoutMs, maxBuffer: MAX_OUTPUT_BYTES, env: { ...process.env, LC_ALL: 'C' } };
  return (await promisify(execFile)('virsh', ['-q', '-c', LIBVIRT_URI, ...args], options)).stdout;
}

/** What execFile throws. */
export type VirshFailure = NodeJS.ErrnoException & { stderr?: string };

/** What virsh said of a failure, on one line. */
export function virshSaid({ stderr, message }: VirshFailure): string {
  return (
    stderr
      ?.trim()
      .replace(/^error: /gm, '')
      .split('\n')
      .join('; ') || message
  );
}

/** Null when libvirt was asked and answered; else why it could not be asked. */
export function notAsked(cause: VirshFailure): ParsError | null {
  if (cause.code === 'ENOENT')
    return new ParsError('missing', 'virsh is not installed', {
      hint: 'install the libvirt clients (Debian: libvirt-clients)',
      cause,
    });
  const said = virshSaid(cause);
  if (!/failed to connect to the hypervisor|disconnected from qemu/i.test(said)) return null;
  return new ParsError('unreachable', `libvirt does not answer: ${said}`, {
    hint: 'is libvirtd running, and are you root?',
    cause,
  });
}

/** Runs one command of virsh for a guest; what libvirt refuses is 'refused', in its own words. */
export async function askLibvirt(...args: string[]): Promise<string> {
  try {
    return await runVirsh(args);
  } catch (cause) {
    const failure = cause as VirshFailure;
    const hint = `see: virsh -c ${LIBVIRT_URI} ${args[0] ?? ''}`;
    throw notAsked(failure) ?? new ParsError('refused', `libvirt: ${virshSaid(failure)}`, { hint, cause });
  }
}
