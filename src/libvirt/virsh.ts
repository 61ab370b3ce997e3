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

/** How virsh, in English, says that libvirt has no guest of that name or UUID. */
export const UNKNOWN_GUEST = /failed to get domain|domain not found|no domain with matching/i;

/** Where the guests are that libvirt knows. */
const GUESTS_HINT = 'see: virsh list --all';

/**
 * Runs one command of virsh. What libvirt refuses is 'refused', in its own words; a guest that it does not
 * know is 'missing'.
 */
export async function askLibvirt(...args: string[]): Promise<string> {
  try {
    return await runVirsh(args);
  } catch (cause) {
    const failure = cause as VirshFailure;
    const said = `libvirt: ${virshSaid(failure)}`;
    const absent = notAsked(failure);
    if (absent !== null) throw absent;
    if (UNKNOWN_GUEST.test(said)) throw new ParsError('missing', said, { hint: GUESTS_HINT, cause });
    const hint = "libvirt's log may say more: journalctl -u libvirtd -u virtqemud";
    throw new ParsError('refused', said, { hint, cause });
  }
}

/** One command about a guest, by its name or UUID. */
export async function askOfGuest(command: string, guest: string, ...args: string[]): Promise<string> {
  return askLibvirt(command, '--domain', await unmistakable(guest), ...args);
}

/** What virsh reads as the id of a domain that runs. */
const ID = /^\s*[+-]?\d+$/;

/**
 * The guest in words that virsh can mistake for no other. It takes a number for the id of a running domain
 * before it looks for a guest of that name, so such a guest is told to it by its UUID.
 */
export async function unmistakable(guest: string): Promise<string> {
  if (!ID.test(guest)) return guest;
  const lines = (await askLibvirt('list', '--all', '--uuid', '--name')).split('\n');
  const uuid = lines
    .map((line) => /^(\S+) (.*)$/.exec(line))
    .find((match) => match?.[2] === guest)
    ?.at(1);
  if (uuid !== undefined) return uuid;
  throw new ParsError('missing', `there is no domain ${guest}`, { hint: GUESTS_HINT });
}
