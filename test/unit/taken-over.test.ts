// SPDX-License-Identifier: Apache-2.0
/**
 * What a reader that a hostile image has taken over can do: nothing but fail (docs/security.md). Each row
 * names the attack.
 */
import type * as ChildProcessModule from 'node:child_process';
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { filesBelow } from '../../src/disks/backing-files.js';
import { openFile } from '../../src/disks/disk-bytes.js';
import { ParsError } from '../../src/errors.js';
import { imagesOfGuest, restoreBegin } from '../../src/lifecycle/restore-hook.js';
import { refuseOtherGuest } from '../../src/reader/save-header.js';
import { probeImage } from '../../src/reader/reader.js';
import { native } from '../../src/native.js';
import { listSnapshots } from '../../src/snapshot/snapshots.js';
import { compressImage } from '../support/compressed.js';
import { domainXml, smallImage, sparseImage, UUID } from '../support/image-builder.js';
import { imageFixture, type ImageFixture } from '../support/image-fixture.js';
import type * as TakenOver from '../support/taken-over.js';
import { buildFakeReader, type FakePlan } from '../support/taken-over.js';

const stand = vi.hoisted(() => ({ plan: null as FakePlan | null }));
vi.mock('node:child_process', async (original) => {
  const { withTakenOver } = await vi.importActual<typeof TakenOver>('../support/taken-over.js');
  return withTakenOver(await original<typeof ChildProcessModule>(), () => stand.plan);
});

beforeAll(buildFakeReader);
let fixture: ImageFixture;
beforeEach(async () => {
  fixture = await imageFixture();
});
afterEach(async () => {
  stand.plan = null;
  await fixture.dispose();
});
afterAll(() => vi.restoreAllMocks());

const KERNEL = 0,
  ANON = 6,
  FILL = 12;

/** Nothing of the image was changed, and nothing is left in the store. */
async function expectUntouched(before: Buffer): Promise<void> {
  expect(readFileSync(fixture.image).equals(before)).toBe(true);
  expect(await listSnapshots(fixture.store)).toEqual([]);
  expect(await fixture.registry.all()).toEqual([]);
}

describe('forged bytes (row 1)', () => {
  const images: [string, () => { bytes: Buffer }][] = [
    ['raw', smallImage],
    ['sparse', sparseImage],
  ];
  describe.each(images)('of a %s image', (_, image) => {
    it.each<[string, FakePlan]>([
      ['a page that the image does not hold', { ownPage: KERNEL }],
      ['pages as words that they do not repeat', { retellAs: FILL }],
      ['pages further on than they are', { moves: 8 }],
      ['pages before they are', { moves: -8 }],
      ['a kind of frame that holds no pages', { retellAs: 13 }],
    ])('%s: nothing is freed', async (__, plan) => {
      const { bytes } = image();
      writeFileSync(fixture.image, bytes);
      stand.plan = { onlyIn: ['pack'], ...plan };
      await expect(fixture.offload()).rejects.toMatchObject({ kind: 'corrupt' });
      await expectUntouched(bytes);
    });

    it('pages as of another class: what is stored is the image all the same', async () => {
      const { bytes } = image();
      writeFileSync(fixture.image, bytes);
      stand.plan = { onlyIn: ['pack'], retellAs: ANON };
      expect(await fixture.offload()).toMatchObject({ stub: true });
      stand.plan = null;
      await fixture.hydrate();
      expect(readFileSync(fixture.image).equals(bytes)).toBe(true);
    });
  });

  it.each([
    ['raw', (_: number, headEnd: number) => headEnd - (1 << 20)],
    ['raw', (streamOffset: number) => streamOffset],
    ['sparse', (streamOffset: number) => streamOffset + 4096],
    ['gzip', (streamOffset: number) => streamOffset + 512],
  ])('a head of a %s image that ends elsewhere: nothing is freed', async (format, otherEnd) => {
    const { bytes, streamOffset, headEnd } = smallImage();
    const images: Record<string, Buffer> = {
      sparse: sparseImage().bytes,
      gzip: compressImage(bytes, 'gzip'),
    };
    const image = images[format] ?? bytes;
    writeFileSync(fixture.image, image);
    stand.plan = { imageLies: { headEnd: otherEnd(streamOffset, headEnd), headDigest: '0'.repeat(64) } };
    await expect(fixture.offload()).rejects.toMatchObject({ kind: 'corrupt' });
    await expectUntouched(image);
  });

  it('a copy that stays beside the image is of its bytes as well', async () => {
    const { bytes } = smallImage();
    writeFileSync(fixture.image, bytes);
    stand.plan = { onlyIn: ['pack'], retellAs: FILL };
    await expect(fixture.offload({ keepLocal: true })).rejects.toMatchObject({ kind: 'corrupt' });
    await expectUntouched(bytes);
  });

  it('a reader that forges nothing is believed', async () => {
    writeFileSync(fixture.image, smallImage().bytes);
    stand.plan = {};
    expect(await fixture.offload()).toMatchObject({ stub: true });
  });
});

describe('another guest (row 6)', () => {
  it.each<[string, Record<string, unknown>]>([
    ['UUID', { uuid: '11111111-2222-3333-4444-555555555555' }],
    ['name', { name: 'somebody else' }],
  ])('by its %s: the image is not filed under it', async (_, lies) => {
    const { bytes } = smallImage();
    writeFileSync(fixture.image, bytes);
    stand.plan = { lies };
    await expect(fixture.offload()).rejects.toMatchObject({ kind: 'corrupt' });
    await expectUntouched(bytes);
  });

  it('in the XML than in the manifest: it is not restored', () => {
    writeFileSync(fixture.image, smallImage().bytes);
    const fd = openSync(fixture.image, 'r');
    try {
      refuseOtherGuest(fd, { uuid: UUID, name: 'guest' });
      expect(() => refuseOtherGuest(fd, { uuid: UUID, name: 'another' })).toThrow('own XML');
      expect(() => refuseOtherGuest(fd, { uuid: UUID.replace('0', '1'), name: 'guest' })).toThrow('own XML');
    } finally {
      closeSync(fd);
    }
  });
});

describe('paths that are no disks (row 7)', () => {
  const disk = {
    target: 'vda',
    type: 'file',
    device: 'disk',
    format: 'raw',
    readOnly: false,
    pool: '',
    volume: '',
    network: null,
    backing: [],
  };

  it('are not opened because the reader names them', async () => {
    const { bytes } = smallImage();
    writeFileSync(fixture.image, bytes);
    stand.plan = { lies: { disks: [{ ...disk, source: '/dev/watchdog' }] } };
    await expect(fixture.offload()).rejects.toMatchObject({ kind: 'corrupt' });
    await expectUntouched(bytes);
  });

  it('are not opened because a disk names them', async () => {
    const fifo = join(fixture.root, 'fifo'),
      image = join(fixture.root, 'disk.qcow2');
    execFileSync('mkfifo', [fifo]);
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-u', '-b', fifo, '-F', 'qcow2', image, '1M']);
    expect((await filesBelow(image)).files).toEqual([{ path: fifo, format: 'qcow2' }]);
    await expect(openFile(fifo, 0)).rejects.toMatchObject({ kind: 'refused' });
    await expect(openFile('/dev/full', 0)).rejects.toMatchObject({ kind: 'refused' });
  }, 20_000);

  it('are told as the XML has them, entities and all', async () => {
    const source = `<source file='/a&apos;b &amp;&quot;.img'/>`;
    const disk = `<disk type='file' device='disk'>${source}<target dev='vda'/></disk>`;
    const devices = `<devices>${disk}</devices><os>`;
    writeFileSync(fixture.image, smallImage({ xml: domainXml().replace('<os>', devices) }).bytes);
    const fd = openSync(fixture.image, 'r');
    try {
      expect((await probeImage(fd)).domain.disks[0]?.source).toBe('/a\'b &".img');
    } finally {
      closeSync(fd);
    }
  });
});

describe('an addon of another version', () => {
  it('is no forged image: the error is its own', async () => {
    writeFileSync(fixture.image, smallImage().bytes);
    vi.spyOn(native(), 'packStripe').mockImplementation(() => {
      throw new TypeError('packStripe is not a function');
    });
    await expect(fixture.offload()).rejects.toThrow(TypeError);
    vi.restoreAllMocks();
    await expectUntouched(smallImage().bytes);
  });
});

describe('a reader that hangs (row 2)', () => {
  beforeEach(() => writeFileSync(fixture.image, smallImage().bytes));

  it('is ended after ten seconds, and the image left as it was', async () => {
    stand.plan = { hangIn: true };
    const began = Date.now();
    await expect(fixture.offload()).rejects.toMatchObject({ kind: 'refused' });
    expect(Date.now() - began).toBeLessThan(20_000);
    await expectUntouched(smallImage().bytes);
  });

  it('holds a start for the deadline at most', async () => {
    await fixture.offload();
    stand.plan = { hangIn: true };
    const holder = openSync(fixture.image, 'r');
    const began = Date.now();
    const start = (deadlineMs: number): Promise<void> =>
      restoreBegin({
        domainUuid: UUID,
        parentPid: process.pid,
        openStore: () => Promise.resolve(fixture.store),
        registry: fixture.registry,
        host: { machineId: '0'.repeat(32), host: 'test' },
        times: { deadlineMs, waitForStoreMs: 0 },
        asJob: (_, work) => work(null),
      });
    await expect(start(1000).finally(() => closeSync(holder))).rejects.toThrow('hook.deadline');
    expect(Date.now() - began).toBeLessThan(5000);
  });

  it("of another guest's image holds no start", async () => {
    stand.plan = { hangIn: true };
    const holder = openSync(fixture.image, 'r');
    const other = '11111111-2222-3333-4444-555555555555';
    const began = Date.now();
    expect(
      await imagesOfGuest(process.pid, other, AbortSignal.timeout(60_000)).finally(() => closeSync(holder)),
    ).toEqual([]);
    expect(Date.now() - began).toBeLessThan(2000);
  });

  it('or answers without end is ended', async () => {
    stand.plan = { floods: true };
    await expect(fixture.offload()).rejects.toBeInstanceOf(ParsError);
    await expectUntouched(smallImage().bytes);
  });
});

describe('answers too large (row 5)', () => {
  beforeEach(() => writeFileSync(fixture.image, smallImage().bytes));

  it.each<[string, FakePlan]>([
    ['64 MiB of JSON', { bigAnswer: 63 << 20 }],
    ['tables with more behind them', { onlyIn: ['pack'], fatTables: 20 << 20 }],
    ['stripes of a byte', { onlyIn: ['pack'], fineStripes: true }],
  ])('%s: refused at once, and nothing is stored', async (_, plan) => {
    stand.plan = plan;
    const before = process.memoryUsage().rss,
      began = Date.now();
    await expect(fixture.offload()).rejects.toMatchObject({ kind: 'corrupt' });
    expect(process.memoryUsage().rss - before).toBeLessThan(300 << 20);
    expect(Date.now() - began).toBeLessThan(20_000);
    await expectUntouched(smallImage().bytes);
  });
});
