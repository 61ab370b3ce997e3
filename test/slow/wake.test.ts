// SPDX-License-Identifier: Apache-2.0
/**
 * A refill that takes a minute, in the hook of a start and by `pars wake`: who waits for it, how long. Prints
 * a table of it.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Guest, labMissing, libvirtVersion } from '../support/lab.js';
import { ParsHost } from '../support/pars-host.js';
import { SlowRefill, type Timed } from '../support/slow-refill.js';

const MINUTE_MS = 60_000;
const SHORT_MS = 20_000;
const AT_ONCE_MS = 5000;
const POLLERS = 25;

describe.skipIf(labMissing() !== undefined)('a refill that takes a minute', () => {
  let host: ParsHost;
  let waking: Guest;
  let stub: Guest;
  let running: Guest;
  const rows: string[] = [];

  beforeAll(async () => {
    host = await ParsHost.start();
    await host.configure('lean\nwake:\n  settle: 1s');
    await host.installHook();
    await host.lab.restartLibvirtd();
    const small = { memoryMiB: 192, cmdline: 'pars.fill=40', disks: [{ fs: 'ext4' as const, generate: 64 }] };
    waking = await host.boot({ ...small, name: 'waking' });
    stub = await host.boot({ ...small, name: 'saved' });
    running = await host.boot({ ...small, name: 'running' });
    await save(waking, stub);
  });
  afterAll(async () => {
    console.log([`libvirt ${libvirtVersion()}`, ...rows].join('\n'));
    await host?.stop();
  });
  /** Whatever the test did, the guest still has its memory. */
  afterEach(async () => {
    if ((await waking.state()) !== 'running') await waking.start();
    expect((await waking.check()).line).toMatch(/ok/);
    if ((await stub.state()) !== 'running') await stub.start();
    expect((await stub.check()).line).toMatch(/ok/);
    if ((await running.state()) !== 'running') await running.start();
    await save(waking, stub);
  });

  async function save(...guests: Guest[]): Promise<void> {
    for (const guest of guests) {
      await guest.managedSave();
      guest.console.disconnect();
      await host.untilStub(guest.hostImagePath);
    }
  }

  const start = (guest: Guest): string[] => ['virsh', '-q', '-c', 'qemu:///system', 'start', guest.uuid];

  function row(how: string, what: string, { ms, answeredMeanwhile, code, stdout, stderr }: Timed): void {
    if (code !== 0) console.log(`${how}, ${what}: exit ${code}: ${stdout}${stderr}`);
    const waited = answeredMeanwhile ? '' : ', with the refill';
    rows.push(
      `| ${how} | ${what} | ${(ms / 1000).toFixed(1)} s${waited}${code === 0 ? '' : `, exit ${code}`} |`,
    );
  }

  /** All at the same time, so that none is held up by how long another took. */
  async function commands(refill: SlowRefill, how: string): Promise<Record<string, Timed>> {
    const asked: [string, Promise<Timed>][] = [
      ['domstate OTHER', refill.virsh('domstate', running.uuid)],
      ['start OTHER', refill.virsh('start', stub.uuid)],
      ['managedsave OTHER', refill.virsh('managedsave', running.uuid)],
      ['list --all', refill.virsh('list', '--all')],
      ['domstate WAKING', refill.virsh('domstate', waking.uuid)],
    ];
    const answers = await Promise.all(
      asked.map(([what, answer]) => answer.then((is) => [what, is] as const)),
    );
    for (const [what, answer] of answers) row(how, what, answer);
    return Object.fromEntries(answers);
  }

  it('in the hook holds up who asks about that guest, and nobody else', async () => {
    const refill = await SlowRefill.begin(host, MINUTE_MS, start(waking));
    const answers = await commands(refill, 'start');
    const started = await refill.begun;
    row('start', 'the start itself', started);
    expect(started).toMatchObject({ code: 0 });
    for (const what of ['domstate OTHER', 'start OTHER', 'managedsave OTHER'])
      expect(answers[what], what).toMatchObject({ code: 0, answeredMeanwhile: true });
  });

  it('in the hook, with many who ask about all guests', async () => {
    const refill = await SlowRefill.begin(host, MINUTE_MS, start(waking));
    const pollers = Array.from({ length: POLLERS }, () => refill.virsh('list', '--all'));
    await Promise.race(pollers.map((poller) => poller.then(() => undefined)).concat(settled()));
    row('start, with 25 pollers', 'domstate OTHER', await refill.virsh('domstate', running.uuid));
    const waited = await Promise.all(pollers);
    row(
      'start, with 25 pollers',
      'list --all',
      waited.reduce((a, b) => (a.ms > b.ms ? a : b)),
    );
    expect(await refill.begun).toMatchObject({ code: 0 });
  });

  it('in the hook, and is to be ended', async () => {
    const refill = await SlowRefill.begin(host, SHORT_MS, start(waking));
    row('start', 'destroy WAKING', await refill.virsh('destroy', waking.uuid));
    await refill.begun;
  });

  it('in the hook ends by "pars cancel"', async () => {
    const refill = await SlowRefill.begin(host, MINUTE_MS, start(waking));
    const cancelled = await refill.beside(...host.command('cancel', waking.name));
    row('start', 'pars cancel WAKING', cancelled);
    expect(cancelled).toMatchObject({ code: 0, answeredMeanwhile: true });
    expect(await refill.begun).toMatchObject({ code: 1 });
  });

  it('in the hook, and libvirtd is restarted', async () => {
    const refill = await SlowRefill.begin(host, SHORT_MS, start(waking));
    const began = Date.now();
    await host.lab.restartLibvirtd();
    row('start', 'restart of libvirtd', {
      ...(await refill.virsh('domstate', running.uuid)),
      ms: Date.now() - began,
    });
    await refill.begun;
  });

  it('by "pars wake" holds up nobody, and the start takes no longer than that of a whole image', async () => {
    const refill = await SlowRefill.begin(host, MINUTE_MS, [...host.command('wake', waking.name)]);
    const pollers = Array.from({ length: POLLERS }, () => refill.virsh('list', '--all'));
    const answers = await commands(refill, 'pars wake');
    const waited = await Promise.all(pollers);
    row(
      'pars wake, with 25 pollers',
      'list --all',
      waited.reduce((a, b) => (a.ms > b.ms ? a : b)),
    );
    for (const answer of [...Object.values(answers), ...waited])
      expect(answer).toMatchObject({ code: 0, answeredMeanwhile: true });
    const woken = await refill.begun;
    row('pars wake', 'pars wake itself', woken);
    expect(woken).toMatchObject({ code: 0 });
    const started = await refill.beside(...start(waking));
    row('pars wake', 'start WAKING afterwards', started);
    await host.lab.exec('mv', ['/etc/libvirt/hooks/qemu.d/pars', '/etc/libvirt/hooks/pars.away']);
    try {
      await waking.managedSave();
      const whole = await refill.beside(...start(waking));
      row('no hook', 'start WAKING from a whole image', whole);
      expect(started.ms).toBeLessThan(whole.ms + AT_ONCE_MS / 2);
    } finally {
      await host.lab.exec('mv', ['/etc/libvirt/hooks/pars.away', '/etc/libvirt/hooks/qemu.d/pars']);
    }
  });
});

/** Time for what was begun to reach libvirtd. */
async function settled(): Promise<undefined> {
  await new Promise((resolve) => setTimeout(resolve, 3000));
  return undefined;
}
