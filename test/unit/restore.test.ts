// SPDX-License-Identifier: Apache-2.0
/** An image written to a new file: that it stays there, and what it says of the disks its guest had (R26). */
import { existsSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { restoreToFile } from '../../src/lifecycle/restore.js';
import { domainXml, smallImage } from '../support/image-builder.js';
import { imageFixture, type ImageFixture } from '../support/image-fixture.js';

/** What stood there when a directory was made durable. */
const synced: { path: string; file: boolean }[] = [];
vi.mock('../../src/system/atomic-file.js', async (original) => {
  const real = await original<typeof import('../../src/system/atomic-file.js')>();
  const syncPath = (path: string): Promise<void> => {
    synced.push({ path, file: existsSync(join(path, 'restored')) });
    return real.syncPath(path);
  };
  return { ...real, syncPath };
});

let fixture: ImageFixture;

beforeEach(async () => {
  fixture = await imageFixture();
});
afterEach(() => fixture.dispose());

it('an image is restored to a file whatever became of the disks; those that changed are named', async () => {
  const disk = join(fixture.root, 'disk.img');
  writeFileSync(disk, Buffer.alloc(4096));
  const devices =
    `<devices><disk type='file' device='disk'><source file='${disk}'/><target `
    + `dev='vda'/></disk></devices></domain>`;
  const { bytes } = smallImage({ xml: domainXml().replace('</domain>', devices) });
  writeFileSync(fixture.image, bytes);
  const { snapshot } = await fixture.offload();

  const restoreAs = (name: string): ReturnType<typeof restoreToFile> =>
    restoreToFile(fixture.store, snapshot, join(fixture.root, name), { force: false });
  expect(await restoreAs('before')).toMatchObject({ changedDisks: [] });
  utimesSync(disk, new Date(0), new Date(0));
  const { image, changedDisks } = await restoreAs('after');
  expect(readFileSync(image).equals(bytes)).toBe(true);
  expect(changedDisks).toEqual([expect.stringContaining(`vda (${disk}) was last written`)]);
});

it.each([false, true])(
  'a restored file outlives a power cut by its name, too (forced: %s)',
  async (force) => {
    writeFileSync(fixture.image, smallImage().bytes);
    const { snapshot } = await fixture.offload();
    synced.length = 0;
    await restoreToFile(fixture.store, snapshot, join(fixture.root, 'restored'), { force });
    expect(synced).toEqual([{ path: fixture.root, file: true }]);
  },
);
