// SPDX-License-Identifier: Apache-2.0
/** What virsh's failures mean, whoever asked: a virsh that says what the real one says, on the PATH. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { guestName, guestState, managedSaveGuest, savedXml } from '../../src/libvirt/guest.js';
import { revertToSnapshot, snapshotsOf } from '../../src/libvirt/snapshots.js';
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

it('a guest that libvirt does not know is missing, whoever asks', async () => {
  says("error: failed to get domain 'web'");
  await expect(guestName('web')).rejects.toMatchObject({ kind: 'missing', hint: 'see: virsh list --all' });
  await expect(managedSaveGuest('web', [])).rejects.toMatchObject({ kind: 'missing' });
});

/** virsh takes a number for the id of a running domain before it takes it for a name (seen with 9.0). */
describe('a guest whose name is a number', () => {
  const UUID = '11111111-2222-4333-8444-555555555555';
  const OTHER = '6695eb01-f6a4-8304-79aa-97f2502e193f';

  beforeEach(() => {
    writeFileSync(
      join(bin, 'virsh'),
      `#!/bin/sh
echo "$*" >> ${bin}/calls
case "$*" in
*"list --all --uuid --name"*) printf '${OTHER} web\n${UUID} 7\n${OTHER.replace('6', '7')} a 7\n' ;;
*dominfo*${UUID}*) echo "Name:           7" ;;
*dominfo*) echo "Name:           web" ;;
*domstate*${UUID}*) echo "shut off" ;;
*domstate*) echo "running" ;;
esac
`,
      { mode: 0o755 },
    );
    vi.stubEnv('PATH', `${bin}:${process.env['PATH'] ?? ''}`);
  });

  const calls = (): string[] => readFileSync(join(bin, 'calls'), 'utf8').trimEnd().split('\n');

  it('is asked about by its UUID, not the domain of that id', async () => {
    expect(await guestName('7')).toBe('7');
    expect(await guestState('7')).toBe('shut off');
    expect(calls().filter((call) => / 7$/.test(call))).toEqual([]);
  });

  it('is saved, listed and reverted by its UUID', async () => {
    await managedSaveGuest('7', ['--paused']);
    await snapshotsOf('7');
    await revertToSnapshot('7', 'pars-1', []);
    await virsh('dumpxml', '7');
    const told = calls().filter((call) => !call.includes('list --all'));
    expect(told).toHaveLength(4);
    for (const call of told) expect(call).toContain(`--domain ${UUID}`);
  });

  it('is missing when there is only a domain of that id', async () => {
    await expect(guestName('1')).rejects.toMatchObject({ kind: 'missing', message: 'there is no domain 1' });
    await expect(virsh('dumpxml', ' +1')).rejects.toMatchObject({ kind: 'missing' });
    expect(await guestState('1')).toBeNull();
    expect(calls().every((call) => / list --all| version$/.test(call))).toBe(true);
  });
});
