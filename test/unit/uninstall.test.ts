// SPDX-License-Identifier: Apache-2.0
/** The hook stays as long as a guest of this host cannot be started without it (R29). */
import { closeSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ImageFile } from '../../src/image/image-file.js';
import { liveStubs } from '../../src/image/live-stubs.js';
import { encodeStub } from '../../src/image/stub.js';
import { uninstallHook } from '../../src/install/install.js';
import { openStub } from '../../src/lifecycle/stub-check.js';
import { probeImage } from '../../src/reader/reader.js';
import { failure } from '../contract/store.js';
import { smallImage } from '../support/image-builder.js';
import { imageFixture, type ImageFixture } from '../support/image-fixture.js';

const { bytes: raw } = smallImage({ frames: 1700 });

let fixture: ImageFixture;

beforeEach(async () => {
  fixture = await imageFixture();
  writeFileSync(fixture.image, raw);
  await fixture.offload();
});
afterEach(() => fixture.dispose());

/** Of a host that has no hook: whatever the machine of this test runs is left alone. */
function uninstall(): Promise<string[]> {
  const { root } = fixture;
  const [prefix, hooksDir, stateDir] = [join(root, 'lib'), join(root, 'hooks'), join(root, 'state')];
  return uninstallHook({ prefix, hooksDir, stateDir, force: false });
}

/** As a power cut leaves the file when it becomes an image again: sectors of both, and no magic. */
async function cutInTheMidst(): Promise<void> {
  const file = await ImageFile.open(fixture.image);
  try {
    const record = openStub(await probeImage(file.fd), fixture.image);
    const [stub, from] = [encodeStub(record), record.offset];
    const image = raw.subarray(from, from + stub.length);
    await fixture.registry.changes.note(file, { offset: from, stub, image });
    const fd = openSync(fixture.image, 'r+');
    const boundary = Math.ceil((from + 1) / 512) * 512;
    writeSync(fd, raw, 0, boundary, 0);
    writeSync(fd, raw, from + stub.length, raw.length - from - stub.length, from + stub.length);
    closeSync(fd);
    expect((await probeImage(file.fd)).stubRecord, 'it passes for a whole image').toBeNull();
  } finally {
    await file.close();
  }
}

it('stays while there is a stub, and goes when it is an image again', async () => {
  expect((await failure(uninstall(), 'refused')).message).toContain(fixture.image);
  await fixture.hydrate();
  expect(await uninstall()).toEqual([]);
});

it('stays while a power cut has left a file between image and stub, which passes for an image', async () => {
  await cutInTheMidst();
  expect(await liveStubs(fixture.registry)).toMatchObject([{ image: fixture.image }]);
  expect((await failure(uninstall(), 'refused')).message).toContain(fixture.image);
});

it('stays while the directory of a stub is not there, as on a disk that is not mounted', async () => {
  const saves = dirname(fixture.image);
  renameSync(saves, `${saves}.away`);
  expect((await failure(uninstall(), 'refused')).message).toContain(fixture.image);
  mkdirSync(saves);
  expect(await uninstall(), 'the directory is there, and the stub is not').toEqual([]);
  rmSync(`${saves}.away`, { recursive: true });
});
