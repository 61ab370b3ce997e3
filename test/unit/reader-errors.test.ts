// SPDX-License-Identifier: Apache-2.0
/** Images that do not parse, and readers that fail. */
import { closeSync, ftruncateSync, openSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PAGE_CLASSES } from '../../src/page-classes.js';
import { PackSession } from '../../src/reader/pack-session.js';
import { ImageError, probeImage, reportImage } from '../../src/reader/reader.js';
import { HEAD_BYTES, ImageBuilder, noisePage, PAGE, smallImage } from '../support/image-builder.js';
import { useOpenFiles } from '../support/open-files.js';
import { imageErrorOf, readersRunning, stripesOf } from '../support/packed-image.js';

const files = useOpenFiles();
const fdOf = (bytes: Buffer): number => files.open(files.file(bytes));

describe('what does not parse', () => {
  const stream = (image: ImageBuilder): Buffer => image.build();
  it.each([
    ['an empty file', Buffer.alloc(0), 'truncated'],
    ['another file', Buffer.alloc(10000, 'LibvirtQem'), 'bad-magic'],
    [
      'an image still being written',
      stream(new ImageBuilder().header({ magic: 'LibvirtQemudPart' }).raw(Buffer.alloc(100))),
      'partial-image',
    ],
    [
      'an image of a later version',
      stream(new ImageBuilder().header({ version: 9 }).raw(Buffer.alloc(100))),
      'unsupported-version',
    ],
    ['an image cut off in its XML', stream(new ImageBuilder().header()).subarray(0, 150), 'truncated'],
    [
      'XML of no domain',
      stream(new ImageBuilder().header({ xml: '<pool/>' }).raw(Buffer.alloc(100))),
      'bad-text',
    ],
  ])('%s has no facts', async (_, bytes, code) => {
    expect((await imageErrorOf(probeImage(fdOf(bytes)))).code).toBe(code);
  });

  it('an image cut off in its memory has facts, and no look inside', async () => {
    const bytes = smallImage().bytes.subarray(0, 9 << 20);
    expect((await probeImage(fdOf(bytes))).headEnd).toBeGreaterThan(HEAD_BYTES);
    const error = await imageErrorOf(PackSession.look(fdOf(bytes)));
    expect(error).toMatchObject({ code: 'truncated', kind: 'corrupt' });
    expect(error.offset).toBeGreaterThan((9 << 20) - 2 * PAGE);
  });

  it('a compressed image has facts, and no look inside', async () => {
    const bytes = new ImageBuilder().header({ format: 5 }).raw(noisePage(1)).build();
    expect(await probeImage(fdOf(bytes))).toMatchObject({ format: 'zstd', headEnd: 0 });
    expect(await imageErrorOf(reportImage(fdOf(bytes)))).toMatchObject({
      code: 'unsupported-format',
      kind: 'refused',
    });
  });

  it('every byte of the first stretch may be wrong without harm', async () => {
    const { bytes, streamOffset } = smallImage({ frames: 1100 });
    for (let at = 0; at < streamOffset + 120; at += 7) {
      const damaged = Buffer.from(bytes);
      damaged[at]! ^= 0xff;
      const path = join(files.directory, 'damaged');
      writeFileSync(path, damaged);
      const fd = openSync(path, 'r');
      const outcome = await probeImage(fd)
        .then(
          () => null,
          (error: unknown) => error,
        )
        .finally(() => closeSync(fd));
      if (outcome !== null) expect(outcome, `byte ${at}`).toBeInstanceOf(ImageError);
    }
  }, 180_000);
});

describe('trouble', () => {
  it('a descriptor that can be written is refused', async () => {
    const fd = files.open(files.file(smallImage().bytes), 'r+');
    await expect(probeImage(fd)).rejects.toThrow(/read-only|can be written/);
  });

  it('an image that shrinks while it is read is said to', async () => {
    const path = files.file(smallImage().bytes);
    const session = await PackSession.look(files.open(path));
    ftruncateSync(files.open(path, 'r+'), PAGE);
    await expect(stripesOf(session)).rejects.toThrow(/shrank|truncated/);
    await session.close();
  });

  it('abort ends the reader, whatever it is doing', async () => {
    const controller = new AbortController();
    const session = await PackSession.look(fdOf(smallImage().bytes), { signal: controller.signal });
    const stripes = session.pack(PAGE_CLASSES);
    await stripes.next();
    controller.abort(new Error('enough'));
    await expect(
      (async () => {
        for await (const stripe of stripes) void stripe;
      })(),
    ).rejects.toThrow('enough');
    await session.close();
    expect(readersRunning()).toBe(0);
  });

  it('an aborted signal starts nothing', async () => {
    await expect(
      probeImage(fdOf(smallImage().bytes), { signal: AbortSignal.abort(new Error('enough')) }),
    ).rejects.toThrow('enough');
    expect(readersRunning()).toBe(0);
  });

  it('close ends a reader that waits, and is safe twice', async () => {
    const session = await PackSession.look(fdOf(smallImage().bytes));
    expect(readersRunning()).toBe(1);
    await session.close();
    await session.close();
    expect(readersRunning()).toBe(0);
  });

  it('leaves no descriptor behind', async () => {
    const fd = fdOf(smallImage().bytes);
    const before = readdirSync('/proc/self/fd').length;
    for (let i = 0; i < 5; i++) await probeImage(fd);
    await expect.poll(() => readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before + 1);
  });
});
