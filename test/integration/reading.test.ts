// SPDX-License-Identifier: Apache-2.0
/**
 * What `pars report` says of a guest's memory, beside two other opinions: the guest's own kernel's and
 * makedumpfile's.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { countWithMakedumpfile } from '../support/elf-core.js';
import { labMissing, SUITES, type Guest, type PageCounts } from '../support/lab.js';
import { ParsHost } from '../support/pars-host.js';

interface Report {
  image: { domain: { name: string; uuid: string } };
  guest: { introspected: boolean; kernel: string | null; reason: string | null };
  ram: { pageSize: number; pages: number };
  classes: Record<string, { pages: number; payloadPages: number; expendable: boolean }>;
  policies: Record<string, { storedBytes: number; savedVsReplicateAll: number }>;
}

function pages(of: Report, name: string): number {
  return of.classes[name]?.pages ?? NaN;
}

/** Both of free and clean-cache within 2 % of RAM. */
function expectNear(said: Report, kernel: PageCounts): void {
  const differences = {
    free: (pages(said, 'free') - kernel.free) / said.ram.pages,
    cleanCache: (pages(said, 'clean-cache') - kernel.clean) / said.ram.pages,
  };
  console.log(
    `${said.guest.kernel}: free ${pages(said, 'free')} (guest ${kernel.free}), clean-cache `
      + `${pages(said, 'clean-cache')} (guest ${kernel.clean})`,
  );
  expect(Math.abs(differences.free), JSON.stringify(differences)).toBeLessThanOrEqual(0.02);
  expect(Math.abs(differences.cleanCache), JSON.stringify(differences)).toBeLessThanOrEqual(0.02);
}

describe.skipIf(labMissing() !== undefined)('pars report', () => {
  let host: ParsHost;
  let guest: Guest;
  let image: string;

  beforeAll(async () => {
    host = await ParsHost.start();
    image = join(host.lab.dir, 'guest.save');
  });
  afterAll(() => host?.stop());
  afterEach(async () => {
    await rm(image, { force: true });
    await guest.destroy().catch(() => undefined);
    await host.lab.virsh('undefine', guest.uuid).catch(() => undefined);
  });

  test.each(SUITES)(
    'counts pages as the kernel of %s does, and free pages as makedumpfile does',
    async (kernel) => {
      guest = await host.boot({ kernel });
      const release = await guest.kernelRelease();
      const counts = await guest.pageCounts();
      await guest.save(image);
      const said = await host.json<Report>('report', image);
      expect(said.guest).toEqual(
        expect.objectContaining({ introspected: true, kernel: release, reason: null }),
      );
      expect(said.image.domain).toMatchObject({ name: guest.name, uuid: guest.uuid });
      expect(Object.values(said.classes).reduce((sum, { pages }) => sum + pages, 0)).toBeGreaterThanOrEqual(
        said.ram.pages,
      );
      expectNear(said, counts);
      const { excluded } = await countWithMakedumpfile(image, 'pc');
      expect(pages(said, 'free')).toBe(excluded.free);
    },
  );

  test('is not misled by a process that plants kernel data', async () => {
    guest = await host.boot();
    await guest.save(image);
    const before = await host.json<Report>('report', image);
    await guest.restore(image);
    expect((await guest.ask('plant 48')).line).toMatch(/^PARS-PLANT ok/);
    const counts = await guest.pageCounts();
    await rm(image);
    await guest.save(image);
    const after = await host.json<Report>('report', image);
    expect(after.guest).toEqual(before.guest);
    expect(after.ram.pages).toBe(before.ram.pages);
    expectNear(after, counts);
  });
});
