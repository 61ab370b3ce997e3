// SPDX-License-Identifier: Apache-2.0
/**
 * kill -9 at every named step and at random instants of offload and hydrate, and others who touch the image
 * meanwhile: afterwards there is either the image or a stub that gives it back, and no half snapshot is to be
 * seen. Needs no libvirt. PARS_KILL_INSTANTS says how many random instants; PARS_WHOLE=1 adds a sparse and
 * a compressed image; PARS_TEST_IMAGE names a real save image to do it with, beside the synthetic one.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { OFFLOAD_STEPS } from '../../src/lifecycle/offload-request.js';
import { compressImage } from '../support/compressed.js';
import { smallImage, sparseImage } from '../support/image-builder.js';
import { buildEntry, KillLab } from '../support/kill-lab.js';
import { MEMORY_DIRECTORY } from '../support/memory-directory.js';
import { expectSound, killedAnywhere, STUB_BYTES } from '../support/killed-anywhere.js';
import { WHOLE } from '../support/whole.js';

const INSTANTS = Number(process.env['PARS_KILL_INSTANTS'] ?? 20);
const directory = mkdtempSync(join(MEMORY_DIRECTORY, 'pars-images-'));
const real = process.env['PARS_TEST_IMAGE'];

function imageOf(name: string, bytes: Buffer): string {
  const path = join(directory, `${name}.save`);
  writeFileSync(path, bytes);
  return path;
}

const synthetic = imageOf('synthetic', smallImage().bytes);
const images: [name: string, path: string, instants: number][] = [['a synthetic image', synthetic, INSTANTS]];
if (WHOLE) {
  images.push(
    ['a sparse image', imageOf('sparse', sparseImage().bytes), INSTANTS / 4],
    ['a compressed image', imageOf('compressed', compressImage(smallImage().bytes, 'zstd')), INSTANTS / 4],
  );
}
if (real !== undefined) images.push(['a real image', real, INSTANTS]);

beforeAll(buildEntry);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe.each(images)('with %s', (_, path, instants) => {
  killedAnywhere(() => KillLab.create(path), instants);
});

describe('others at the image while it is offloaded', () => {
  const beforeLease: string[] = OFFLOAD_STEPS.slice(0, OFFLOAD_STEPS.indexOf('leased'));
  const underLease = ['leased', 'recorded', 'punched', 'stubbed'] as const;

  let lab: KillLab;

  beforeEach(async () => {
    lab = await KillLab.create(synthetic);
  });
  afterEach(() => lab.dispose());

  it.each(beforeLease)(
    'one who has it open since "%s" keeps it whole, and nothing stays in the store',
    async (step) => {
      const [held, over] = [join(lab.root, 'held'), join(lab.root, 'over')];
      const holder =
        `timeout 60 sh -c 'exec 7<"$0"; : >${held}; until [ -e ${over} ]; do sleep 0.05; `
        + `done' ${lab.image} >/dev/null 2>&1 &`;
      expect(
        await lab.run({
          work: 'offload',
          atStep: { step, run: `${holder} until [ -e ${held} ]; do sleep 0.01; done` },
        }),
      ).toMatchObject({ kind: 'busy' });
      writeFileSync(over, '');
      expect(await lab.stateOfImage()).toBe('image');
      expect(await lab.checkStore()).toBe(0);
    },
  );

  it.each(underLease)('one who opens it at "%s" sees a whole stub or a whole image', async (step) => {
    const run = `(head -c 16 ${lab.image}; cmp -n 1000000000 ${lab.image} ${lab.image}) >/dev/null 2>&1 &`;
    const result = await lab.run({ work: 'offload', atStep: { step, run: `${run} sleep 0.2` } });
    expect(['done', 'busy']).toContain(result?.kind);
    expect(await lab.stateOfImage()).toBe(result?.kind === 'done' ? 'stub' : 'image');
    await expectSound(lab);
  });

  it.each([...beforeLease, ...underLease])(
    'its removal at "%s" leaves nothing in the store',
    async (step) => {
      expect(await lab.run({ work: 'offload', atStep: { step, run: `rm ${lab.image}` } })).toMatchObject({
        kind: 'busy',
      });
      expect(await lab.stateOfImage()).toBe('missing');
      expect(await lab.checkStore()).toBe(0);
    },
  );

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
    // Before the lease it is let answer first; under it, it may have to wait for the first one.
    const wait = beforeLease.includes(step)
      ? ` timeout 10 sh -c 'until grep -q kind ${lab.root}/second; do sleep 0.05; done'`
      : step === 'leased'
        ? ''
        : ' sleep 0.5';
    const run =
      `timeout 20 ${process.execPath} build/kill-entry.mjs '${second}' >${lab.root}/second ` + `&${wait}`;
    // One that comes under the lease waits in open, and the first may leave the image whole for it; else the
    // first goes through.
    const kinds = beforeLease.includes(step) ? /done/ : /done|busy/;
    expect(await lab.run({ work: 'offload', atStep: { step, run } })).toMatchObject({
      kind: expect.stringMatching(kinds),
    });
    if (beforeLease.includes(step))
      expect(readFileSync(join(lab.root, 'second'), 'utf8')).toContain('"kind":"busy"');
    await expectSound(lab);
  });

  it('its start, noted by the hook, ends an offload that is under way (R25)', async () => {
    const run =
      `mkdir -p ${lab.stateDir}/started && : `
      + `>${lab.stateDir}/started/0f0e0d0c-0b0a-0908-0706-050403020100`;
    expect(await lab.run({ work: 'offload', atStep: { step: 'packed', run } })).toMatchObject({
      kind: 'busy',
    });
    expect(await lab.stateOfImage()).toBe('image');
    expect(await lab.checkStore()).toBe(0);
  });
});
