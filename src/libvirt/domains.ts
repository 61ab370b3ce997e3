// SPDX-License-Identifier: Apache-2.0
/**
 * What libvirt says of domains, by virsh: read only. Nothing here goes through the hook, or changes a domain.
 */
import { ParsError } from '../errors.js';
import { notAsked, runVirsh, unmistakable, UNKNOWN_GUEST, type VirshFailure, virshSaid } from './virsh.js';

const TIMEOUT_MS = 60_000;

/** Runs virsh; `domain` is an argument of its own, whatever its name looks like. */
export async function virsh(command: string, domain: string | null, ...args: string[]): Promise<string> {
  const about = domain === null ? [] : ['--domain', await unmistakable(domain)];
  try {
    return await runVirsh([command, ...about, ...args], { timeoutMs: TIMEOUT_MS });
  } catch (cause) {
    throw virshError(cause as VirshFailure, domain);
  }
}

/** UUIDs of the domains that run now. */
export async function runningDomains(): Promise<string[]> {
  return uuidsIn(await virsh('list', null, '--uuid'));
}

/** UUIDs of all that libvirt knows. */
export async function definedDomains(): Promise<string[]> {
  return uuidsIn(await virsh('list', null, '--all', '--uuid'));
}

function uuidsIn(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

function virshError(cause: VirshFailure, domain: string | null): ParsError {
  const absent = notAsked(cause);
  if (absent !== null) return absent;
  const said = virshSaid(cause);
  if (UNKNOWN_GUEST.test(said))
    return new ParsError('missing', `there is no domain ${domain ?? ''}`, {
      hint: 'see: virsh list --all',
      cause,
    });
  if (/domain is not running/i.test(said))
    return new ParsError('missing', `the domain ${domain ?? ''} is not running`, {
      hint: 'report on its image instead: pars report --all',
      cause,
    });
  return new ParsError('unreachable', `libvirt does not answer: ${said}`, {
    hint: 'is libvirtd running, and are you root?',
    cause,
  });
}
