// SPDX-License-Identifier: Apache-2.0
/** What virsh's failures mean, whoever asked: a virsh that says what the real one says, on the PATH. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { guestState, savedXml } from '../../src/libvirt/guest.js';
import { runningDomains, virsh } from '../../src/libvirt/domains.js';

let bin: string;

beforeEach(() => {
  bin = mkdtempSync(join(tmpdir(), 'pars-virsh-'));
  vi.stubEnv('PATH', bin);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(bin, { recursive: true });
});

function says(...lines: string[]): void {
  const path = join(bin, 'virsh');
  writeFileSync(path, `#!/bin/sh\n${lines.map((line) => `echo "${line}" >&2`).join('\n')}\nexit 1\n`);
  chmodSync(path, 0o755);
}

it('a libvirt that is down cannot be reached, for a restore as for a report', async () => {
  says(
    'error: failed to connect to the hypervisor',
    "error: Failed to connect socket to '/var/run/libvirt/libvirt-sock': No such file or directory",
  );
  const down = {
    kind: 'unreachable',
    message:
      'libvirt does not answer: failed to connect to the hypervisor; Failed to connect socket to '
      + "'/var/run/libvirt/libvirt-sock': No such file or directory",
  };
  await expect(guestState('web')).rejects.toMatchObject(down);
  await expect(runningDomains()).rejects.toMatchObject(down);
});

it('a virsh that is not there is missing, for both', async () => {
  await expect(guestState('web')).rejects.toMatchObject({ kind: 'missing' });
  await expect(runningDomains()).rejects.toMatchObject({ kind: 'missing' });
});

it('what libvirt refuses is refused, and a guest that it does not know is missing', async () => {
  says('error: operation failed: cannot read that image');
  await expect(savedXml('/save/web.save')).rejects.toMatchObject({
    kind: 'refused',
    message: 'libvirt: operation failed: cannot read that image',
  });
  says("error: failed to get domain 'web'");
  await expect(virsh('dumpxml', 'web')).rejects.toMatchObject({
    kind: 'missing',
    message: 'there is no domain web',
  });
});

it("asks the system's libvirt, whatever the environment names as default", async () => {
  vi.stubEnv('LIBVIRT_DEFAULT_URI', 'qemu:///session');
  writeFileSync(join(bin, 'virsh'), '#!/bin/sh\necho "$*"\n', { mode: 0o755 });
  expect(await virsh('dumpxml', 'web')).toContain('-c qemu:///system dumpxml');
});
