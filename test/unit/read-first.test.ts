// SPDX-License-Identifier: Apache-2.0
/** Compressed saves on a libvirt that reads them before it calls the hook: left whole, and said so. */
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { checkCompressedStubs } from '../../src/doctor/compressed-stubs.js';
import { checkSaveFormat } from '../../src/doctor/libvirt.js';
import { hostStatus } from '../../src/status/host-status.js';
import { compressImage } from '../support/compressed.js';
import { smallImage } from '../support/image-builder.js';
import { imageFixture, type ImageFixture } from '../support/image-fixture.js';

let fixture: ImageFixture;
let image: string;

beforeEach(async () => {
  fixture = await imageFixture();
  ({ image } = fixture);
  writeFileSync(image, compressImage(smallImage().bytes, 'gzip'));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await fixture.dispose();
});

function installed(version: string): void {
  const directory = join(fixture.root, 'bin');
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'libvirtd'), `#!/bin/sh\necho "libvirtd (libvirt) ${version}"\n`, {
    mode: 0o755,
  });
  vi.stubEnv('PATH', `${directory}:${process.env['PATH'] ?? ''}`);
}

const status = (): ReturnType<typeof hostStatus> => hostStatus(join(fixture.root, 'state'), dirname(image));
const saveFormat = (): ReturnType<typeof checkSaveFormat> => {
  writeFileSync(join(fixture.root, 'qemu.conf'), 'save_image_format = "gzip"\n');
  return checkSaveFormat(join(fixture.root, 'qemu.conf'));
};
const isStub = (): boolean => statSync(image).blocks * 512 < 1 << 20;

describe.each(['11.3.0'])('libvirt %s, which calls the hook first', (version) => {
  it('has its compressed saves offloaded', async () => {
    installed(version);
    expect((await status()).due).toHaveLength(1);
    expect(await fixture.offload()).toMatchObject({ stub: true });
    expect(await saveFormat()).toMatchObject({ outcome: 'ok' });
    expect(await checkCompressedStubs(join(fixture.root, 'state'))).toEqual([]);
  });
});

describe.each(['11.4.0', '12.8.0'])('libvirt %s, which may read first', (version) => {
  beforeEach(() => installed(version));

  it('keeps a compressed save whole, and its queue is empty', async () => {
    const bytes = statSync(image).size;
    await expect(fixture.offload()).rejects.toMatchObject({
      kind: 'refused',
      message: expect.stringMatching(/reads a compressed save before it calls the hook/) as string,
    });
    expect(statSync(image).size).toBe(bytes);
    expect(isStub()).toBe(false);
    const { held, ...rest } = await status();
    expect(rest).toMatchObject({ due: [], failed: [], blindSpots: [] });
    const reason = expect.stringMatching(/before it calls the hook/) as string;
    expect(held).toMatchObject([{ image, condition: 'kept', reason }]);
    expect(await saveFormat()).toMatchObject({ outcome: 'warning' });
  });

  it('has a raw save offloaded', async () => {
    writeFileSync(image, smallImage().bytes);
    expect(await fixture.offload()).toMatchObject({ stub: true });
    expect(await checkCompressedStubs(join(fixture.root, 'state'))).toEqual([]);
  });

  it('has a compressed save stored beside it, or made a stub where that is asked for', async () => {
    expect(await fixture.offload({ keepLocal: true })).toMatchObject({ stub: false });
    expect(await fixture.offload({ force: true })).toMatchObject({ stub: true });
    expect(await checkCompressedStubs(join(fixture.root, 'state'))).toMatchObject([
      { outcome: 'warning', found: expect.stringContaining(image) as string },
    ]);
    expect((await fixture.hydrate()).hydrated).toBe(true);
    expect(await checkCompressedStubs(join(fixture.root, 'state'))).toEqual([]);
  });
});
