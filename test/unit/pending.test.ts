// SPDX-License-Identifier: Apache-2.0
/**
 * The queue of offloads, with real save images in a directory of saves. What an offload does is stood in for:
 * here it is the order, the lock and the repeats that matter.
 */
import { spawn } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ParsError } from '../../src/errors.js';
import { native } from '../../src/native.js';
import { processStart } from '../../src/system/process-start.js';
import { readFailures } from '../../src/journal/failures.js';
import { hostStatus } from '../../src/status/host-status.js';
import { asJob, JobRecord, readJobs } from '../../src/journal/jobs.js';
import { Pace } from '../../src/queue/pace.js';
import { offloadPending, type PendingWork } from '../../src/queue/pending.js';
import { domainXml, smallImage } from '../support/image-builder.js';

let root: string;
let saveDir: string;
let stateDir: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pars-pending-'));
  [saveDir, stateDir] = [join(root, 'saves'), join(root, 'state')];
  for (const path of [saveDir, stateDir]) mkdirSync(path);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** A whole image, `extra` bytes longer than the smallest. */
function save(name: string, extra = 0): string {
  const path = join(saveDir, `${name}.save`);
  writeFileSync(path, Buffer.concat([smallImage({ xml: domainXml({ name }) }).bytes, Buffer.alloc(extra)]));
  return path;
}

/** Takes an image off the disk as an offload does, and remembers the order. */
function worker(changes: Partial<PendingWork> = {}): PendingWork & { order: string[] } {
  const order: string[] = [];
  const offload = async (image: string): Promise<boolean> => {
    order.push(image);
    rmSync(image);
    return true;
  };
  return { stateDir, saveDir, concurrency: 1, largestFirst: async () => true, offload, order, ...changes };
}

describe('the queue of offloads', () => {
  it('takes the largest image first, and every one once', async () => {
    const [small, large, middle] = [save('a', 1000), save('b', 3000), save('c', 2000)];
    const work = worker();
    expect(await offloadPending(work)).toEqual({ worked: true, offloaded: [large, middle, small], left: [] });
    expect(work.order).toEqual([large, middle, small]);
  });

  it('takes the oldest first while there is room, the largest when it gets short', async () => {
    const [newest, oldest, large] = [save('a', 1000), save('b', 2000), save('c', 3000)];
    utimesSync(oldest, 1000, 1000);
    utimesSync(large, 2000, 2000);
    const work = worker({ largestFirst: async () => work.order.length > 0 });
    const between = save('d', 500);
    utimesSync(between, 1500, 1500);
    await offloadPending(work);
    expect(work.order).toEqual([oldest, large, newest, between]);
  });

  it('works on so many at a time and no more, also on those saved while it works', async () => {
    for (let i = 0; i < 4; i++) save(`early-${i}`);
    let [now, most, late] = [0, 0, 0];
    let allHands = (): void => {};
    const together = new Promise<void>((resolve) => (allHands = resolve));
    const offload = async (image: string): Promise<boolean> => {
      most = Math.max(most, ++now);
      if (late < 4) save(`late-${late++}`);
      if (now === 3) allHands();
      await together;
      now--;
      rmSync(image);
      return true;
    };
    expect((await offloadPending(worker({ offload, concurrency: 3 }))).offloaded).toHaveLength(8);
    expect(most).toBe(3);
  });

  it('waits for an image that somebody has open, and takes the others meanwhile', async () => {
    const [used, free] = [save('used', 5000), save('free')];
    const holder = openSync(used, 'r');
    const work = worker();
    const offload = async (image: string): Promise<boolean> => {
      if (image === free) closeSync(holder);
      return work.offload(image);
    };
    expect((await offloadPending({ ...work, offload })).offloaded).toEqual([free, used]);
  });

  it('waits for another worker only when it is in a hurry', async () => {
    const image = save('a');
    const other = await open(join(stateDir, 'worker.lock'), 'a');
    native().tryLock(other.fd);
    const work = worker({ patient: true });
    const running = offloadPending(work);
    await other.close();
    expect(await running).toMatchObject({ worked: true, offloaded: [image], left: [] });
  });

  it('tries an image that fails once, goes on with the others, and says what is left', async () => {
    const [bad, good] = [save('bad', 2000), save('good')];
    const tried: string[] = [];
    const offload = async (image: string): Promise<boolean> => (
      tried.push(image),
      image === good && (rmSync(image), true)
    );
    expect(await offloadPending(worker({ offload }))).toMatchObject({
      worked: true,
      offloaded: [good],
      left: [{ image: bad }],
    });
    expect(tried).toEqual([bad, good]);
  });

  it('takes images that are saved meanwhile, even one that was tried before', async () => {
    const first = save('first');
    const spare = join(root, 'spare');
    copyFileSync(first, spare);
    let times = 0;
    const offload = async (image: string): Promise<boolean> => {
      rmSync(image);
      if (++times === 1) copyFileSync(spare, first);
      return true;
    };
    expect(await offloadPending(worker({ offload }))).toMatchObject({ offloaded: [first, first], left: [] });
  });

  it('leaves all to a worker that is there, and to the next one what a killed one left', async () => {
    const image = save('a');
    const other = await open(join(stateDir, 'worker.lock'), 'a');
    expect(native().tryLock(other.fd)).toBe(true);
    const work = worker();
    expect(await offloadPending(work)).toMatchObject({ worked: false, offloaded: [], left: [{ image }] });
    expect(work.order).toEqual([]);
    await other.close();
    expect(await offloadPending(work)).toMatchObject({ worked: true, offloaded: [image] });
  });

  it('stops between two images when told to', async () => {
    const [large, small] = [save('a', 1000), save('b')];
    const stop = new AbortController();
    const offload = async (image: string): Promise<boolean> => (stop.abort(), rmSync(image), true);
    expect(await offloadPending(worker({ offload, signal: stop.signal }))).toMatchObject({
      offloaded: [large],
      left: [{ image: small }],
    });
  });

  it('leaves what cannot be read or is to stay whole, and says why', async () => {
    writeFileSync(
      join(saveDir, 'damaged.save'),
      Buffer.concat([Buffer.from('LibvirtQemudPart'), Buffer.alloc(1000)]),
    );
    writeFileSync(join(saveDir, 'readme'), 'no image');
    symlinkSync('damaged.save', join(saveDir, 'link.save'));
    const metadata = '<pars:guest xmlns:pars="https://pars.dev/xmlns/guest/1" offload="no"/>';
    writeFileSync(
      join(saveDir, 'wanted-here.save'),
      smallImage({ xml: domainXml({ name: 'here', metadata }) }).bytes,
    );
    const work = worker();
    const { worked, offloaded, left } = await offloadPending(work);
    expect([worked, offloaded, work.order]).toEqual([false, [], []]);
    expect(left).toEqual([
      expect.objectContaining({
        image: join(saveDir, 'damaged.save'),
        bytes: 1016,
        domain: null,
        condition: 'unreadable',
        reason: expect.stringContaining('libvirt never finished writing') as string,
      }),
      expect.objectContaining({
        image: join(saveDir, 'link.save'),
        domain: null,
        condition: 'unreadable',
        reason: expect.stringContaining('symbolic link') as string,
      }),
      expect.objectContaining({
        image: join(saveDir, 'wanted-here.save'),
        domain: 'here',
        condition: 'opted-out',
        reason: expect.stringContaining('opted out') as string,
      }),
    ]);
    expect((await hostStatus(stateDir, saveDir)).due).toEqual([]);
  });

  it('does not take a directory that is not there for an empty one', async () => {
    await expect(offloadPending(worker({ saveDir: join(root, 'savse') }))).rejects.toMatchObject({
      kind: 'missing',
      hint: expect.stringContaining('--save-dir') as string,
    });
  });

  it('says what another pars works on right now', async () => {
    const image = save('a');
    const other = spawn('sleep', ['60']);
    try {
      const job = {
        kind: 'offload',
        image,
        state: 'running',
        began: '',
        pid: other.pid,
        processStart: processStart(other.pid ?? 0),
      };
      mkdirSync(join(stateDir, 'jobs'));
      writeFileSync(join(stateDir, 'jobs', 'offload-0.json'), JSON.stringify(job));
      expect((await offloadPending(worker())).left).toMatchObject([
        { image, condition: 'due', reason: expect.stringContaining('another pars process') as string },
      ]);
    } finally {
      other.kill();
    }
  });
});

describe('the pace of offloads', () => {
  it('keeps all of them together within the bandwidth', async () => {
    const pace = new Pace({ stateDir, bandwidth: 10_000 });
    const began = Date.now();
    await Promise.all([pace.take(2000), pace.take(2000), pace.take(1)]);
    // What came first is let through at once, and paid for by those after it.
    expect(Date.now() - began).toBeGreaterThanOrEqual(390);
  });

  it('stops while a guest is being resumed, but not for one that waits for the same image', async () => {
    const pace = (): Pace => new Pace({ stateDir, bandwidth: null });
    const order: string[] = [];
    const waking = await JobRecord.begin(stateDir, 'hydrate', '/saves/other.save');
    const taken = pace()
      .take(1)
      .then(() => order.push('taken'));
    await new Promise((resolve) => setTimeout(resolve, 700));
    order.push('woken');
    await waking.succeed();
    await taken;
    expect(order).toEqual(['woken', 'taken']);
    await JobRecord.begin(stateDir, 'hydrate', '/saves/same.save');
    await JobRecord.begin(stateDir, 'offload', '/saves/same.save');
    await pace().take(1);
  });

  it('ends its wait when told to stop', async () => {
    const stop = new AbortController();
    const pace = new Pace({ stateDir, bandwidth: 1, signal: stop.signal });
    await pace.take(1000);
    const waiting = pace.take(1);
    stop.abort();
    await expect(waiting).rejects.toThrow(/abort/i);
  });
});

describe('what this host remembers of failures', () => {
  const failing = (error: Error, image = '/saves/a.save'): Promise<unknown> =>
    asJob(stateDir, 'offload', image, () => Promise.reject(error)).catch(() => null);

  it('stays after they were made good, the latest first, a bounded number', async () => {
    for (let i = 0; i < 3; i++)
      await failing(new ParsError('unreachable', `no store ${i}`, { hint: 'mount it' }));
    await asJob(stateDir, 'offload', '/saves/a.save', async () => {});
    appendFileSync(join(stateDir, 'failures.jsonl'), '{"cut sho');
    expect((await readFailures(stateDir)).map(({ message }) => message)).toEqual([
      'no store 2',
      'no store 1',
      'no store 0',
    ]);
    writeFileSync(
      join(stateDir, 'failures.jsonl'),
      `${JSON.stringify({ message: 'x'.repeat(2000) })}\n`.repeat(200),
    );
    await failing(new Error('the last'));
    const kept = await readFailures(stateDir);
    expect([kept[0]?.message, kept.length < 100]).toEqual(['the last', true]);
  });

  it('does not hold what was told to stop', async () => {
    await failing(new Error('interrupted by SIGTERM'));
    await failing(new DOMException('over', 'TimeoutError'));
    expect(await readFailures(stateDir)).toEqual([]);
    expect((await readJobs(stateDir)).map(({ state }) => state)).toEqual(['interrupted']);
  });

  it('goes to the system log as one line, whatever the message holds', async () => {
    const bin = join(root, 'bin');
    mkdirSync(bin);
    writeFileSync(
      join(bin, 'logger'),
      `#!/bin/sh\nfor word; do printf '%s\\n' "$word" >>${root}/log; done\n`,
      { mode: 0o755 },
    );
    vi.stubEnv('PATH', `${bin}:${process.env['PATH'] ?? ''}`);
    await failing(new ParsError('busy', 'in use\nby "x"; $(id)', { hint: 'later' }), '-t\x1b evil.save');
    vi.unstubAllEnvs();
    expect(readFileSync(join(root, 'log'), 'utf8')).toBe(
      '--id\n--tag\npars\n--priority\ndaemon.err\n--\noffload -t  evil.save failed (busy): in use by '
        + '"x"; $(id); later\n',
    );
  });
});

describe('pars status', () => {
  it('counts what failed and is not made good, while its image is there', async () => {
    const image = save('a');
    await asJob(stateDir, 'offload', image, () =>
      Promise.reject(new ParsError('unreachable', 'no store')),
    ).catch(() => {});
    expect(await hostStatus(stateDir, saveDir)).toMatchObject({
      failed: [{ image }],
      due: [{ image, reason: 'no store' }],
      failures: [{ message: 'no store' }],
    });
    rmSync(image);
    expect(await hostStatus(stateDir, saveDir)).toMatchObject({
      failed: [],
      due: [],
      failures: [{ message: 'no store' }],
    });
  });
});
