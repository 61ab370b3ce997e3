// SPDX-License-Identifier: Apache-2.0
/**
 * Guests with memory on both sides of the PCI hole, all of which was used and freed, so that nothing of it is
 * zero: both sides are proven (safety rule R6), all that is free and clean is lost, and the guest lives on.
 * PARS_LARGE_MEMORY=all runs every size and machine, not only the one that stands for the others.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { labMissing, type Guest, type GuestOptions } from '../support/lab.js';
import { ParsHost } from '../support/pars-host.js';

interface Report {
  guest: { introspected: boolean; reason: string | null };
  classes: Record<string, { pages: number; payloadPages: number }>;
  notes: { text: string; pages: number }[];
}

interface Large {
  machine: NonNullable<GuestOptions['machine']>;
  memoryMiB: number;
  /** Runs with every gate. */
  always?: true;
}

const GUESTS: Large[] = [
  { machine: 'q35', memoryMiB: 3072, always: true },
  { machine: 'q35', memoryMiB: 4096 },
  { machine: 'q35', memoryMiB: 6144 },
  { machine: 'q35', memoryMiB: 12288 },
  { machine: 'pc', memoryMiB: 3072 },
  { machine: 'pc', memoryMiB: 4096 },
  { machine: 'pc', memoryMiB: 6144 },
  { machine: 'pc', memoryMiB: 12288 },
];
const PAGES_PER_MIB = 256;
/** What is not written before it is freed: the kernel with its notes of each page, and what comes after. */
const leftMiB = (memoryMiB: number): number => 400 + memoryMiB / 32;

const wanted = (guest: Large): boolean =>
  guest.always === true
  || process.env['PARS_LARGE_MEMORY'] === 'all'
  || process.env['PARS_LARGE_MEMORY'] === name(guest);

function name({ machine, memoryMiB }: Large): string {
  return `${machine}-${memoryMiB}`;
}

describe.skipIf(labMissing() !== undefined)('memory on both sides of the PCI hole', () => {
  let host: ParsHost;
  let guest: Guest | undefined;
  beforeAll(async () => {
    host = await ParsHost.start();
  });
  afterAll(() => host?.stop());
  // One that failed must not keep its memory from the next.
  afterEach(async () => {
    await guest?.destroy().catch(() => undefined);
    guest = undefined;
  });

  test.each(GUESTS.filter(wanted).map((guest) => [name(guest), guest] as const))(
    '%s: no page is unproven, and the guest lives on without all that is free or clean',
    async (_name, { machine, memoryMiB }) => {
      const used = memoryMiB - leftMiB(memoryMiB);
      guest = await host.boot({
        kernel: 'trixie',
        machine,
        memoryMiB,
        cmdline: `pars.used=${used} pars.fill=8`,
      });
      const image = join(host.lab.dir, `${guest.name}.save`);
      await guest.save(image);
      const { guest: seen, classes, notes } = await host.json<Report>('report', image);
      expect(seen).toMatchObject({ introspected: true, reason: null });
      expect(notes.filter(({ text }) => text.includes('(R6)'))).toEqual([]);
      const losable = (classes['free']?.payloadPages ?? 0) + (classes['clean-cache']?.payloadPages ?? 0);
      expect(losable).toBeGreaterThan(0.9 * used * PAGES_PER_MIB);
      await host.pars('offload', '--policy', 'minimal', image);
      await host.pars('hydrate', image);
      await guest.restore(image);
      expect(await guest.check()).toMatchObject({ ok: true });
      expect(await guest.deep()).toMatchObject({ ok: true });
      await rm(image);
    },
  );
});
