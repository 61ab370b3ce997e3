// SPDX-License-Identifier: Apache-2.0
/** libvirt and QEMU: which versions, which format of images, and who confines them. */
import { join } from 'node:path';
import { readIfThere } from '../system/absence.js';
import { commandFor, isCompressed } from '../image/save-format.js';
import { readsCompressedFirst } from '../libvirt/reads-first.js';
import { notAsked, runVirsh, type VirshFailure, virshSaid } from '../libvirt/virsh.js';
import { isAtLeast } from '../system/version.js';
import { type Check, failure, ok, warning } from './check.js';

/** The oldest that hooks and images were tried with. */
const OLDEST = { libvirt: [7, 0], qemu: [5, 2] } as const;

/**
 * A refused start was seen to leave the stub in peace, in every way it can be refused (scripts/refusals;
 * docs/safety.md, R30). libvirt 11.3 takes a failing hook for a resumed guest, so another version may have a
 * way of its own.
 */
const REFUSALS_PROVEN = ['9.0', '11.3', '12.8'];

export async function checkVersions(): Promise<Check[]> {
  const output = await runVirsh(['version'], { timeoutMs: 60_000 }).catch((error: Error) => error);
  if (output instanceof Error) return [cannotAsk(output)];
  const libvirt = /Using API: \S+ ([\d.]+)/.exec(output) ?? /Using library: libvirt ([\d.]+)/.exec(output);
  return [
    versionOf('libvirt', libvirt),
    refusalsOn(libvirt),
    versionOf('qemu', /hypervisor: QEMU ([\d.]+)/.exec(output)),
  ];
}

function cannotAsk(error: VirshFailure): Check {
  const absent = notAsked(error);
  if (absent?.kind === 'missing')
    return failure('libvirt', 'missing', absent.message, absent.hint ?? 'install virsh');
  return failure(
    'libvirt',
    'unreachable',
    `virsh cannot ask libvirt: ${virshSaid(error)}`,
    'start libvirtd (or virtqemud), and run this as root',
  );
}

function versionOf(name: keyof typeof OLDEST, match: RegExpExecArray | null): Check {
  if (!match?.[1])
    return warning(name, 'its version is not known', 'run "virsh version" and see what it says');
  const [major = 0, minor = 0] = match[1].split('.').map(Number),
    [oldest, oldestMinor] = OLDEST[name];
  return !isAtLeast([major, minor], OLDEST[name])
    ? warning(
        name,
        `${match[1]} is older than what Pars was tried with (${oldest}.${oldestMinor})`,
        'try one guest with "pars offload --keep-local" before you rely on it',
      )
    : ok(name, match[1]);
}

function refusalsOn(match: RegExpExecArray | null): Check {
  const version = match?.[1]?.split('.').slice(0, 2).join('.') ?? 'of unknown version';
  if (REFUSALS_PROVEN.includes(version))
    return ok('refused starts', `leave their stubs alone on libvirt ${version}`);
  return warning(
    'refused starts',
    `were tried on libvirt ${REFUSALS_PROVEN.join(', ')}, not on ${version}`,
    'before you rely on it, save a guest, take the store away, and see "virsh start" fail and the stub stay',
  );
}

export async function checkSaveFormat(confFile: string): Promise<Check> {
  const text = (await readIfThere(confFile)) ?? '';
  const format = [...text.matchAll(/^\s*save_image_format\s*=\s*"([^"]*)"/gm)].at(-1)?.[1] ?? 'raw';
  if (format === 'raw') return ok('save format', 'raw: images are analysed');
  if (format === 'sparse') return ok('save format', 'sparse: images are analysed');
  if (isCompressed(format)) {
    const version = await readsCompressedFirst();
    if (version !== null)
      return warning(
        'save format',
        `${format}: libvirt ${version} reads such an image before it calls the hook, so it is not offloaded`,
        `set save_image_format = "raw" (or "sparse") in ${confFile}, then restart libvirt's daemon; it `
          + 'applies to the next save',
      );
    const [program] = commandFor(format, 'unpack');
    return ok(
      'save format',
      `${format}: images are unpacked beside themselves while they are offloaded, and resumed at the pace `
        + `of ${program}`,
    );
  }
  return warning(
    'save format',
    `save_image_format = "${format}": such images are stored without analysis`,
    `set save_image_format = "raw" in ${confFile}, then restart libvirtd; it applies to the next save`,
  );
}

/** Our hook runs as a child of libvirtd, within whatever confines that. */
export async function checkConfinement(root = '/'): Promise<Check> {
  const read = async (path: string): Promise<string> => (await readIfThere(join(root, path))) ?? '';
  if ((await read('sys/fs/selinux/enforce')).trim() === '1')
    return warning(
      'confinement',
      'SELinux is enforcing: the hook runs in the domain of libvirtd',
      'let hooks run unconfined: setsebool -P virt_hooks_unconfined on; label what was copied: restorecon '
        + '-RF /etc/libvirt/hooks /usr/local/lib/pars; after the first save look for denials: ausearch -m '
        + 'avc -ts recent',
    );
  const profiles = await read('sys/kernel/security/apparmor/profiles');
  if (!/^(libvirtd|virtqemud|\/usr\/sbin\/(?:libvirtd|virtqemud)) \(enforce\)/m.test(profiles))
    return ok('confinement', 'nothing confines libvirtd');
  const local =
    (await read('etc/apparmor.d/local/usr.sbin.libvirtd'))
    + (await read('etc/apparmor.d/local/usr.sbin.virtqemud'));
  if (local.includes('pars'))
    return ok('confinement', 'AppArmor confines libvirtd, and a local rule names pars');
  return warning(
    'confinement',
    'AppArmor confines libvirtd, and with it the hook',
    'if a save is not offloaded look for denials in the kernel log; allow the program with '
      + '"include <abstractions/pars>" (a file that the package brings), else with '
      + '"/usr/local/lib/pars/** rmUx,", in /etc/apparmor.d/local/usr.sbin.libvirtd, then: systemctl reload '
      + 'apparmor',
  );
}
