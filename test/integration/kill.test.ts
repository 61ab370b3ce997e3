/**
 * kill -9 at every named step and at random instants of offload and hydrate, and others who touch the image meanwhile: afterwards
 * there is either the image or a stub that gives it back, and no half snapshot is to be seen. Needs no libvirt.
 * PARS_TEST_IMAGE names a real save image to do it with, beside the synthetic one.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { HYDRATE_STEPS } from '../../src/hydrate.js';
import { OFFLOAD_STEPS } from '../../src/offload.js';
import { smallImage } from '../support/image-builder.js';
import { buildEntry, KillLab } from '../support/kill-lab.js';

const INSTANTS = 100;
const STUB_BYTES = 5 << 20;
const directory = mkdtempSync(join(tmpdir(), 'pars-images-'));
const synthetic = join(directory, 'synthetic.save');
writeFileSync(synthetic, smallImage().bytes);
const real = process.env['PARS_TEST_IMAGE'];
const images: [name: string, path: string, instants: number][] = [['a synthetic image', synthetic, INSTANTS], ...(real === undefined ? [] : [['a real image', real, INSTANTS] as [string, string, number]])];

beforeAll(buildEntry);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let lab: KillLab;
afterEach(() => lab.dispose());

/** What must hold after whatever happened, and that going on from there works. */
async function expectSound(): Promise<void> {
  const state = await lab.stateOfImage();
  expect(['image', 'stub']).toContain(state);
  const snapshots = await lab.checkStore();
  if (state === 'stub') expect(snapshots).toBeGreaterThan(0);
}

async function expectRepeatable(): Promise<void> {
  expect(await lab.run({ work: 'offload' })).toMatchObject({ kind: 'done' });
  expect(await lab.stateOfImage()).toBe('stub');
  expect(await lab.bytesOnDisk()).toBeLessThan(STUB_BYTES);
  expect(await lab.run({ work: 'hydrate' })).toMatchObject({ kind: 'done' });
  expect(await lab.stateOfImage()).toBe('image');
}

describe.each(images)('with %s', (_, path, instants) => {
  beforeEach(async () => {
    lab = await KillLab.create(path);
  });

  it.each(OFFLOAD_STEPS)('an offload killed at "%s"', async (killAt) => {
    expect(await lab.run({ work: 'offload', killAt }), 'it died').toBeNull();
    await expectSound();
    await expectRepeatable();
  });

  it.each(HYDRATE_STEPS)('a hydration killed at "%s"', async (killAt) => {
    await lab.run({ work: 'offload' });
    expect(await lab.run({ work: 'hydrate', killAt }), 'it died').toBeNull();
    await expectSound();
    expect(await lab.run({ work: 'hydrate' })).toMatchObject({ kind: 'done' });
    expect(await lab.stateOfImage()).toBe('image');
  });

  it('a hydration killed at any step becomes a small stub again by an offload', async () => {
    for (const killAt of HYDRATE_STEPS.slice(0, -2)) {
      await lab.run({ work: 'offload' });
      await lab.run({ work: 'hydrate', killAt });
      await expectRepeatable();
    }
  });

  it(`${instants} offloads and hydrations killed at random instants`, async () => {
    const offloadMs = await timeOf('offload'), hydrateMs = await timeOf('hydrate');
    let killed = 0;
    for (let i = 0; i < instants; i++) {
      const state = await lab.stateOfImage();
      const [work, ms] = state === 'stub' && i % 2 === 1 ? (['hydrate', hydrateMs] as const) : (['offload', offloadMs] as const);
      killed += Number(await lab.runAndKill({ work }, Math.random() * ms));
      expect(['image', 'stub'], `after instant ${i}`).toContain(await lab.stateOfImage());
      if (i % 10 === 9) await expectSound();
    }
    expect(killed).toBeGreaterThan(instants / 4);
    await expectSound();
    await expectRepeatable();
  });

  async function timeOf(work: 'offload' | 'hydrate'): Promise<number> {
    const began = Date.now();
    await lab.run({ work });
    return Date.now() - began;
  }
});

describe('others at the image while it is offloaded', () => {
  const beforeLease: string[] = OFFLOAD_STEPS.slice(0, OFFLOAD_STEPS.indexOf('leased'));
  const underLease = ['leased', 'recorded', 'punched', 'stubbed'] as const;

  beforeEach(async () => {
    lab = await KillLab.create(synthetic);
  });

  it.each(beforeLease)('one who has it open since "%s" keeps it whole, and nothing stays in the store', async (step) => {
    const run = `sh -c 'exec 7<"$0"; sleep 3' ${lab.image} >/dev/null 2>&1 &`;
    expect(await lab.run({ work: 'offload', atStep: { step, run } })).toMatchObject({ kind: 'busy' });
    expect(await lab.stateOfImage()).toBe('image');
    expect(await lab.checkStore()).toBe(0);
  });

  it.each(underLease)('one who opens it at "%s" sees a whole stub or a whole image', async (step) => {
    const run = `(head -c 16 ${lab.image}; cmp -n 1000000000 ${lab.image} ${lab.image}) >/dev/null 2>&1 &`;
    const result = await lab.run({ work: 'offload', atStep: { step, run: `${run} sleep 0.2` } });
    expect(['done', 'busy']).toContain(result?.kind);
    expect(await lab.stateOfImage()).toBe(result?.kind === 'done' ? 'stub' : 'image');
    await expectSound();
  });

  it.each([...beforeLease, ...underLease])('its removal at "%s" leaves nothing in the store', async (step) => {
    expect(await lab.run({ work: 'offload', atStep: { step, run: `rm ${lab.image}` } })).toMatchObject({ kind: 'busy' });
    expect(await lab.stateOfImage()).toBe('missing');
    expect(await lab.checkStore()).toBe(0);
  });

  it.each(beforeLease)('a header rewritten at "%s" is not undone, and the image stays', async (step) => {
    const run = `printf X | dd of=${lab.image} bs=1 seek=300 conv=notrunc status=none`;
    expect(await lab.run({ work: 'offload', atStep: { step, run } })).not.toMatchObject({ kind: 'done' });
    const file = await open(lab.image);
    expect((await file.read(Buffer.alloc(1), 0, 1, 300)).buffer.toString()).toBe('X');
    expect((await file.stat()).blocks * 512).toBeGreaterThan(STUB_BYTES);
    await file.close();
  });

  it.each([...beforeLease, ...underLease])('a second offload at "%s" is refused as busy', async (step) => {
    const second = JSON.stringify(lab.request({ work: 'offload' })).replaceAll("'", '');
    const run = `timeout 5 ${process.execPath} build/kill-entry.mjs '${second}' >${lab.root}/second &${step === 'leased' ? '' : ' sleep 0.5'}`;
    // One that comes under the lease waits in open, and the first may leave the image whole for it; else the first goes through.
    const kinds = beforeLease.includes(step) ? /done/ : /done|busy/;
    expect(await lab.run({ work: 'offload', atStep: { step, run } })).toMatchObject({ kind: expect.stringMatching(kinds) });
    if (beforeLease.includes(step)) expect(readFileSync(join(lab.root, 'second'), 'utf8')).toContain('"kind":"busy"');
    await expectSound();
  });

  it('its start, noted by the hook, ends an offload that is under way (R25)', async () => {
    const run = `mkdir -p ${lab.stateDir}/started && : >${lab.stateDir}/started/0f0e0d0c-0b0a-0908-0706-050403020100`;
    expect(await lab.run({ work: 'offload', atStep: { step: 'packed', run } })).toMatchObject({ kind: 'busy' });
    expect(await lab.stateOfImage()).toBe('image');
    expect(await lab.checkStore()).toBe(0);
  });
});
