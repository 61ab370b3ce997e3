// SPDX-License-Identifier: Apache-2.0
/**
 * kill -9 of offloads and hydrations, and what must hold afterwards. One set of tests, whatever the image and
 * the store.
 */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { HYDRATE_STEPS } from '../../src/lifecycle/hydrate.js';
import { OFFLOAD_STEPS } from '../../src/lifecycle/offload-request.js';
import type { KillLab } from './kill-lab.js';

/** What a stub may take on the disk. */
export const STUB_BYTES = 5 << 20;

/** What must hold after whatever happened, and that going on from there works. */
export async function expectSound(lab: KillLab): Promise<void> {
  const state = await lab.stateOfImage();
  expect(['image', 'stub']).toContain(state);
  const snapshots = await lab.checkStore();
  if (state === 'stub') expect(snapshots).toBeGreaterThan(0);
}

async function expectRepeatable(lab: KillLab): Promise<void> {
  expect(await lab.run({ work: 'offload' })).toMatchObject({ kind: 'done' });
  expect(await lab.stateOfImage()).toBe('stub');
  expect(await lab.bytesOnDisk()).toBeLessThan(STUB_BYTES);
  expect(await lab.run({ work: 'hydrate' })).toMatchObject({ kind: 'done' });
  expect(await lab.stateOfImage()).toBe('image');
}

/**
 * The tests of offloads and hydrations in the lab that `create` makes for each, killed at every step and at
 * so many random instants.
 */
export function killedAnywhere(create: () => Promise<KillLab>, instants: number): void {
  let lab: KillLab;

  beforeEach(async () => {
    lab = await create();
  });
  afterEach(() => lab.dispose());

  it.each(OFFLOAD_STEPS)('an offload killed at "%s"', async (killAt) => {
    expect(await lab.run({ work: 'offload', killAt }), 'it died').toBeNull();
    await expectSound(lab);
    await expectRepeatable(lab);
  });

  it.each(HYDRATE_STEPS)('a hydration killed at "%s"', async (killAt) => {
    await lab.run({ work: 'offload' });
    expect(await lab.run({ work: 'hydrate', killAt }), 'it died').toBeNull();
    await expectSound(lab);
    expect(await lab.run({ work: 'hydrate' })).toMatchObject({ kind: 'done' });
    expect(await lab.stateOfImage()).toBe('image');
  });

  it('a hydration killed at any step becomes a small stub again by an offload', async () => {
    for (const killAt of HYDRATE_STEPS.slice(0, -2)) {
      await lab.run({ work: 'offload' });
      await lab.run({ work: 'hydrate', killAt });
      await expectRepeatable(lab);
    }
  });

  it(`${instants} offloads and hydrations killed at random instants`, async () => {
    const offloadMs = await timeOf('offload'),
      hydrateMs = await timeOf('hydrate');
    let killed = 0;
    // An instant after the end kills nothing: it goes on until a good part of them did.
    for (let i = 0; i < instants || (killed <= instants / 4 && i < 4 * instants); i++) {
      const state = await lab.stateOfImage();
      const [work, ms] =
        state === 'stub' && i % 2 === 1
          ? (['hydrate', hydrateMs] as const)
          : (['offload', offloadMs] as const);
      killed += Number(await lab.runAndKill({ work }, Math.random() * ms));
      expect(['image', 'stub'], `after instant ${i}`).toContain(await lab.stateOfImage());
      if (i % 10 === 9) await expectSound(lab);
    }
    expect(killed).toBeGreaterThan(instants / 4);
    await expectSound(lab);
    await expectRepeatable(lab);
  });

  async function timeOf(work: 'offload' | 'hydrate'): Promise<number> {
    const began = Date.now();
    await lab.run({ work });
    return Date.now() - began;
  }
}
