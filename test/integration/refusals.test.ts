// SPDX-License-Identifier: Apache-2.0
/**
 * A start that is refused costs nothing, whatever the libvirt (R30): it fails and says why, the stub stays
 * what it was, `pars status` tells, and the guest resumes from that very stub when the reason is gone.
 * scripts/refusals tries every way under every libvirt.
 */
import { appendFile } from 'node:fs/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { HostStatus } from '../../src/status/host-status.js';
import { fingerprint } from '../support/guest-judge.js';
import { labMissing, libvirtVersion, type Guest } from '../support/lab.js';
import { ParsHost } from '../support/pars-host.js';
import {
  ALL_REFUSALS,
  KILLED_HALF_WAY,
  KILLED_HOOK,
  NOT_NOTED,
  REPRESENTATIVE,
  STORE_AWAY,
  type Refusal,
} from '../support/refusals.js';
import { attempt, saveToStub, type Way } from '../support/start-ways.js';
import { WHOLE } from '../support/whole.js';

const TABLE = process.env['PARS_REFUSALS_TABLE'];
const VERSION = libvirtVersion();
const COMPRESSED = VERSION >= 10_004 ? ('zstd' as const) : ('gzip' as const);
const FORMATS = [
  'raw' as const,
  // Later ones may read a compressed save first, which is left whole there.
  ...(WHOLE && VERSION <= 11_003 ? [COMPRESSED] : []),
  ...(VERSION >= 11_002 ? ['sparse' as const] : []),
];
const WAYS: readonly Way[] = ['start --bypass-cache', 'restore FILE', 'autostart'];

/** Every reason for a raw stub; for others those in which the format has a say. */
function rowsOf(format: string): { way: Way; refusal: Refusal }[] {
  const others = [STORE_AWAY, KILLED_HALF_WAY, NOT_NOTED];
  const reasons = !WHOLE ? REPRESENTATIVE : format === 'raw' ? ALL_REFUSALS : others;
  const started = reasons.map((refusal) => ({ way: 'start' as const, refusal }));
  if (!WHOLE) return format === 'raw' ? started : started.slice(-1);
  const otherwise = WAYS.flatMap((way) =>
    format === 'raw' || way === 'start --bypass-cache'
      ? [STORE_AWAY, NOT_NOTED].map((refusal) => ({ way, refusal }))
      : [{ way, refusal: STORE_AWAY }],
  );
  return [...started, ...otherwise];
}

async function note(row: Record<string, unknown>): Promise<void> {
  if (TABLE !== undefined) await appendFile(TABLE, `${JSON.stringify({ libvirt: VERSION, ...row })}\n`);
}

/** Who refused it, by what libvirt said. */
function refusedBy(said: string): string {
  if (/prepare begin -\)/.test(said)) return 'the hook';
  return /iohelper/.test(said) ? 'not said' : /hook/i.test(said) ? 'libvirt, for the hook' : 'QEMU';
}

describe.skipIf(labMissing() !== undefined).each(FORMATS)('a refused start of a %s stub', (format) => {
  let host: ParsHost;
  let guest: Guest;

  beforeAll(async () => {
    host = await ParsHost.start({ lab: { saveFormat: format } });
    await host.installHook();
    const disks = [{ fs: 'ext4' as const, generate: 64 }];
    guest = await host.boot({ memoryMiB: 192, cmdline: 'pars.fill=30', disks });
  });
  afterAll(() => host?.stop());
  // A row that failed leaves the next a guest that runs.
  beforeEach(async () => {
    if ((await guest.state()) !== 'running') await guest.start();
  });

  async function resume(way: Way, image: string): Promise<void> {
    // Of a compressed stub a helper has read too much by then, and QEMU 10 dies in the next save of a guest
    // read so from a sparse one.
    const past = way === 'start --bypass-cache' && format === 'raw' ? ['--bypass-cache'] : [];
    if (way === 'restore FILE') await guest.restore(image);
    else await guest.start(...past);
    expect((await guest.check()).line).toMatch(/^PARS-CHECK ok/);
  }

  async function statusOf(): Promise<{ code: number; found: HostStatus }> {
    const { code, stdout } = await host.try('status', '--json');
    return { code, found: JSON.parse(stdout) as HostStatus };
  }

  test.each(rowsOf(format))('$way: $refusal.reason', async ({ way, refusal }) => {
    const image = await saveToStub(host, guest, way);
    const before = await fingerprint(image);
    const undo = await refusal.break(host, guest);
    const { code, said } = await attempt(host, guest, way, image);
    await undo();
    expect(code, 'virsh must not call a refused start a success').not.toBe(0);
    // libvirt tells of its helper that was ended, not why.
    if (way !== 'start --bypass-cache') expect(said).toMatch(refusal.said);
    expect(await guest.state()).toBe('shut off');
    if (!refusal.begun) expect(await fingerprint(image)).toEqual(before);
    const status = await statusOf();
    expect(status.found.lost).toEqual([]);
    expect(status.found.stubs.map((stub) => stub.image)).toContain(
      way === 'restore FILE' ? image : guest.imagePath,
    );
    if (!refusal.unheard) expect(status.code, 'pars status tells of it').not.toBe(0);
    await resume(way, image);
    expect((await statusOf()).code).toBe(0);
    await note({
      format,
      way,
      reason: refusal.reason,
      refusedBy: refusedBy(said),
      stub: 'kept',
      resumed: 'yes',
    });
  });

  test.runIf(WHOLE && format === 'raw')(`start: ${KILLED_HOOK.reason}`, async () => {
    const image = await saveToStub(host, guest, 'start');
    const snapshot = await host.snapshotOf(guest);
    const undo = await KILLED_HOOK.break(host, guest);
    const { code, said } = await attempt(host, guest, 'start', image);
    await undo();
    expect(await guest.state()).toBe('shut off');
    const isLost = (await statusOf()).found.lost.length > 0;
    if (isLost) await putBack(snapshot);
    await resume('start', image);
    const stub = isLost
      ? `**deleted** (virsh exits with ${code}), put back by \`restore --as-managed-save\``
      : 'kept';
    await note({
      format,
      way: 'start',
      reason: KILLED_HOOK.reason,
      refusedBy: refusedBy(said),
      stub,
      resumed: 'yes',
    });
  });

  async function putBack(snapshot: string): Promise<void> {
    expect((await statusOf()).code).toBe(4);
    await host.pars('prune', '--yes');
    await host.pars('restore', snapshot, '--as-managed-save');
    expect((await statusOf()).code).toBe(0);
  }
});
