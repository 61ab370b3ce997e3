// SPDX-License-Identifier: Apache-2.0
/**
 * The guests people have: a Debian server, installed and booted as one is, loses everything expendable three
 * times in a row, twice in the middle of its work. Each time its files, databases, Java heap, web server and
 * kernel log are as before, and when it is off its disks are clean. PARS_DISTRIBUTIONS names the suites
 * (trixie), with commas between them; the first run of one installs it, which takes a quarter of an hour.
 */
import { execFile } from 'node:child_process';
import { rm, stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Distribution, MEMORY_MIB, type DistributionSuite } from '../support/distribution.js';
import {
  keepDistribution,
  renderDistributions,
  type DistributionResult,
} from '../support/distribution-result.js';
import { labMissing, type Guest } from '../support/lab.js';
import type { Report } from '../support/loss-judge.js';
import { ParsHost } from '../support/pars-host.js';

const SUITES = (process.env['PARS_DISTRIBUTIONS'] ?? 'trixie').split(',') as DistributionSuite[];
/** In this order: what one of them loses, the next would not store either. */
const SETTINGS = {
  lean: 'lean\ndisk_references: off',
  'lean, disk references': 'lean\ndisk_references: auto',
  'minimal, disk references': 'minimal\ndisk_references: auto',
  minimal: 'minimal\ndisk_references: off',
} as const;
const MINUTE = 60_000;
const ANSWER_MS = 20 * MINUTE;
const TEST_MS = 90 * MINUTE;

describe.skipIf(labMissing() !== undefined).each(SUITES)('a Debian server, %s', (suite) => {
  let host: ParsHost;
  let distribution: Distribution;
  let guest: Guest;
  let result: DistributionResult;

  beforeAll(async () => {
    host = await ParsHost.start();
    await host.configure(SETTINGS.minimal);
    distribution = await Distribution.boot(host, suite);
    ({ guest } = distribution);
  }, TEST_MS);
  afterAll(() => host?.stop());

  async function answers(...questions: string[]): Promise<void> {
    for (const question of questions)
      expect((await guest.ask(question, ANSWER_MS)).line).toMatch(`PARS-${question.toUpperCase()} ok`);
  }

  /** Drops whatever is expendable of its managed save, and lets it go on. */
  async function startsWithout(): Promise<void> {
    await host.pars('offload', guest.imagePath);
    await host.pars('hydrate', guest.imagePath);
    await guest.start();
  }

  async function passes(what: string): Promise<void> {
    result.passed.push(what);
    await keepDistribution(result);
  }

  /** Bytes that each policy stores of the managed save, which is as before afterwards. */
  async function storedBy(): Promise<Record<string, number>> {
    const stored: Record<string, number> = {};
    for (const [name, setting] of Object.entries(SETTINGS)) {
      await host.configure(setting);
      stored[name] = (await host.json<{ storedBytes: number }>('offload', guest.imagePath)).storedBytes;
      await host.pars('hydrate', guest.imagePath);
    }
    await host.configure(SETTINGS.minimal);
    return stored;
  }

  test(
    'at least 95 % of its clean unmapped cache is expendable, and it lives on without',
    async () => {
      const release = await guest.kernelRelease();
      const { clean: cleanPages } = await guest.pageCounts();
      await guest.managedSave();
      const { guest: seen, classes, reasons } = await host.json<Report>('report', guest.imagePath);
      result = {
        suite,
        release,
        date: new Date().toISOString().slice(0, 10),
        memoryMiB: MEMORY_MIB,
        cleanPages,
        expendablePages: classes['clean-cache']?.pages ?? 0,
        reasons: reasons.filter((one) => one.class === 'other-cache'),
        image: (await stat(guest.hostImagePath)).size,
        zstd: await packedBytes(guest.hostImagePath),
        stored: await storedBy(),
        passed: [],
      };
      console.log(renderDistributions([result]));
      await startsWithout();
      await answers('check', 'deep');
      expect(seen).toMatchObject({ introspected: true });
      expect(result.expendablePages).toBeGreaterThanOrEqual(0.95 * cleanPages);
      await passes('idle, all lost');
    },
    TEST_MS,
  );

  test.each(['once', 'twice'])(
    'loses all in the middle of its work, %s',
    async (time) => {
      await answers('busy');
      await guest.managedSave();
      await startsWithout();
      await answers('quiet', 'check', 'deep');
      await passes(`busy, all lost, ${time}`);
    },
    TEST_MS,
  );

  test(
    'leaves clean disks behind',
    async () => {
      await guest.send('poweroff');
      await isOff(guest);
      expect(await distribution.rescued()).toBe('PARS-RESCUE ok');
      await passes('disks checked');
    },
    TEST_MS,
  );
});

async function isOff(guest: Guest): Promise<void> {
  const end = Date.now() + 5 * MINUTE;
  while ((await guest.state()) !== 'shut off') {
    if (Date.now() > end) throw new Error(`${guest.name} does not power off`);
    await delay(500);
  }
}

/** Of the file in `zstd -1`. */
async function packedBytes(path: string): Promise<number> {
  const packed = `${path}.zst`;
  await promisify(execFile)('zstd', ['-q', '-1', '-T2', path, '-o', packed]);
  const { size } = await stat(packed);
  await rm(packed);
  return size;
}
