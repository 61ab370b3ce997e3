// SPDX-License-Identifier: Apache-2.0
/**
 * Saves that the queue leaves alone for a while: refilled for a start that failed, or older than the boot of
 * the host while its guests are being started. Real save images; the boot and libvirt-guests are stood in
 * for.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { asJob, readJobs } from '../../src/journal/jobs.js';
import { bootTime, type GuestsUnit, guestStarts } from '../../src/libvirt/boot.js';
import { HoldBack, type HoldBackOptions } from '../../src/queue/hold-back.js';
import { offloadPending, type PendingWork } from '../../src/queue/pending.js';
import { domainXml, smallImage } from '../support/image-builder.js';

const MINUTE = 60_000;

let root: string;
let saveDir: string;
let stateDir: string;
let list: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pars-hold-'));
  [saveDir, stateDir, list] = [join(root, 'saves'), join(root, 'state'), join(root, 'libvirt-guests')];
  for (const path of [saveDir, stateDir]) mkdirSync(path);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** A whole image, saved so long ago. */
function save(name: string, agoMs: number): string {
  const path = join(saveDir, `${name}.save`);
  writeFileSync(path, smallImage({ xml: domainXml({ name }) }).bytes);
  const time = new Date(Date.now() - agoMs);
  utimesSync(path, time, time);
  return path;
}

function holdBack(changes: Partial<HoldBackOptions> = {}): HoldBack {
  const bootedAgoMs = 10 * MINUTE;
  return new HoldBack({
    stateDir,
    settleMs: MINUTE,
    bootedMs: async () => Date.now() - bootedAgoMs,
    starts: () => guestStarts(null, list),
    ...changes,
  });
}

async function reason(image: string, hold = holdBack()): Promise<string | null> {
  return hold.reasonFor({ image, mtimeMs: statSync(image).mtimeMs }, await readJobs(stateDir));
}

function worker(hold: HoldBack, changes: Partial<PendingWork> = {}): PendingWork & { order: string[] } {
  const order: string[] = [];
  const offload = async (image: string): Promise<boolean> => {
    order.push(image);
    rmSync(image);
    return true;
  };
  const largestFirst = async (): Promise<boolean> => false;
  return { stateDir, saveDir, concurrency: 1, largestFirst, offload, order, holdBack: hold, ...changes };
}

describe('libvirt-guests', () => {
  const unit = (changes: Partial<GuestsUnit>): GuestsUnit => ({
    active: 'inactive',
    isEnabled: true,
    isBooting: false,
    ...changes,
  });

  it.each([
    ['activating', true, 'pending'],
    ['active', true, 'over'],
    ['failed', true, 'over'],
    ['inactive', true, 'pending'],
    ['inactive', false, 'over'],
  ])('that is %s (the host still boots: %s) has its starts %s', async (active, isBooting, starts) => {
    writeFileSync(list, '');
    expect(await guestStarts(unit({ active, isBooting }), list)).toBe(starts);
  });

  it('that is not enabled starts nobody; without systemd its list tells', async () => {
    expect(await guestStarts(unit({ isEnabled: false, isBooting: true }), list)).toBe('over');
    expect(await guestStarts(null, list)).toBe('over');
    writeFileSync(list, 'default 1 2 3\n');
    expect(await guestStarts(null, list)).toBe('listed');
  });

  it('starts its guests after the boot, which was before now', async () => {
    expect(await bootTime()).toBeLessThan(Date.now());
    expect(Math.abs((await bootTime()) - (await bootTime()))).toBeLessThan(1000);
  });
});

describe('a save from before the boot', () => {
  it('is left alone while libvirt-guests has a list, and a later one is not', async () => {
    const [before, after] = [save('before', 60 * MINUTE), save('after', 5 * MINUTE)];
    writeFileSync(list, '');
    expect(await reason(before)).toMatch(/before this host was booted/);
    expect(await reason(after)).toBeNull();
    rmSync(list);
    expect(await reason(before)).toBeNull();
  });

  it('is left alone until the boot, and the last start, are a settle time ago', async () => {
    const before = save('before', 120 * MINUTE);
    const bootedMs = (agoMs: number) => async (): Promise<number> => Date.now() - agoMs;
    expect(await reason(before, holdBack({ bootedMs: bootedMs(30_000) }))).toMatch(/being started/);
    expect(await reason(before, holdBack({ bootedMs: bootedMs(2 * MINUTE) }))).toBeNull();
    writeFileSync(join(stateDir, 'last-start'), '');
    expect(await reason(before, holdBack({ bootedMs: bootedMs(2 * MINUTE) }))).toMatch(/being started/);
    expect(await reason(before, holdBack({ bootedMs: bootedMs(90 * MINUTE) })), 'not for ever').toBeNull();
  });

  it('is not stored seconds before its start, six guests started one after the other', async () => {
    const saves = [1, 2, 3, 4, 5, 6].map((n) => save(`guest-${n}`, (60 - n) * MINUTE));
    writeFileSync(list, '');
    const hold = holdBack({ settleMs: 1500 });
    const work = worker(hold);
    const running = offloadPending(work);
    for (const image of saves.slice(0, 5)) {
      await sleep(200);
      expect(existsSync(image)).toBe(true);
      rmSync(image);
      writeFileSync(join(stateDir, 'last-start'), '');
    }
    rmSync(list);
    expect(await running).toMatchObject({ offloaded: [saves[5]], left: [] });
    expect(work.order).toEqual([saves[5]]);
  }, 60_000);

  it('is said to be waited with, once', async () => {
    const image = save('before', 60 * MINUTE);
    writeFileSync(list, '');
    const said: string[] = [];
    const work = worker(holdBack({ settleMs: 100 }), { heldBack: (path) => void said.push(path) });
    const running = offloadPending(work);
    await sleep(2500);
    rmSync(list);
    expect(await running).toMatchObject({ offloaded: [image] });
    expect(said).toEqual([image]);
  }, 60_000);
});

describe('while starts come', () => {
  it('the youngest save is taken first, else the oldest', async () => {
    const young = (): string[] => [save('a', 3 * MINUTE), save('b', 2 * MINUTE), save('c', MINUTE)];
    const quiet = young();
    const first = worker(holdBack());
    await offloadPending(first);
    expect(first.order).toEqual(quiet);
    const busy = young();
    writeFileSync(join(stateDir, 'last-start'), '');
    const second = worker(holdBack());
    await offloadPending(second);
    expect(second.order).toEqual(busy.reverse());
  });
});

describe('an image that was refilled for a start', () => {
  it('is left alone for the settle time, and one that was saved again is not', async () => {
    const image = save('a', 0);
    await asJob(stateDir, 'hydrate', image, async () => {});
    expect(await reason(image)).toMatch(/refilled for a start/);
    expect(await reason(image, holdBack({ settleMs: 0 }))).toBeNull();
    const later = new Date(Date.now() + 5000);
    utimesSync(image, later, later);
    expect(await reason(image)).toBeNull();
  });

  it('is not held back until a clock that was wrong then comes by that time', async () => {
    const image = save('a', 0);
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 60 * MINUTE });
    await asJob(stateDir, 'hydrate', image, async () => {});
    vi.useRealTimers();
    expect(await reason(image)).toBeNull();
  });

  it('is taken by the same run when that is over', async () => {
    const image = save('a', 0);
    await asJob(stateDir, 'hydrate', image, async () => {});
    const work = worker(holdBack({ settleMs: 1500 }));
    const began = Date.now();
    expect(await offloadPending(work)).toMatchObject({ offloaded: [image] });
    expect(Date.now() - began).toBeGreaterThan(1000);
  }, 60_000);
});
