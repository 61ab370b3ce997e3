// SPDX-License-Identifier: Apache-2.0
/** Headers made to cost memory: of a stream that begins far behind them (docs/security.md). */
import type * as ChildProcessModule from 'node:child_process';
import { spawnSync } from 'node:child_process';
import { appendFileSync, closeSync, openSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { ImageFile } from '../../src/image/image-file.js';
import { unpackImage } from '../../src/image/unpacked.js';
import { probeImage } from '../../src/reader/reader.js';
import { listSnapshots } from '../../src/snapshot/snapshots.js';
import { compressImage } from '../support/compressed.js';
import { domainXml, smallImage } from '../support/image-builder.js';
import { imageFixture, type ImageFixture } from '../support/image-fixture.js';
import type * as TakenOver from '../support/taken-over.js';
import { buildFakeReader, type FakePlan } from '../support/taken-over.js';

const stand = vi.hoisted(() => ({ plan: null as FakePlan | null }));
vi.mock('node:child_process', async (original) => {
  const { withTakenOver } = await vi.importActual<typeof TakenOver>('../support/taken-over.js');
  return withTakenOver(await original<typeof ChildProcessModule>(), () => stand.plan);
});

/** Of the header: how many bytes of XML, cookie and padding follow. */
const DATA_BYTES_AT = 20,
  HEADER_BYTES = 92;
const MiB = 1 << 20;

let fixture: ImageFixture;
beforeAll(buildFakeReader);
beforeEach(async () => {
  fixture = await imageFixture();
});
afterEach(async () => {
  stand.plan = null;
  await fixture.dispose();
});
afterAll(() => vi.restoreAllMocks());

/** By how much the most memory that this process ever held grows. */
async function growthDuring(work: () => Promise<unknown>): Promise<number> {
  const before = process.resourceUsage().maxRSS;
  await work();
  return (process.resourceUsage().maxRSS - before) * 1024;
}

/** The image with so much padding behind its XML, which takes no room in this process. */
function writePadded(path: string, image: Buffer, streamOffset: number, bytes: number): void {
  const head = Buffer.from(image.subarray(0, streamOffset));
  head.writeUInt32LE(streamOffset - HEADER_BYTES + bytes, DATA_BYTES_AT);
  writeFileSync(path, head);
  truncateSync(path, streamOffset + bytes);
  appendFileSync(path, image.subarray(streamOffset));
}

describe('a stream that begins far behind the header (row 14)', () => {
  const { bytes, streamOffset } = smallImage({ frames: 3000 });
  const compressed = compressImage(bytes, 'gzip');

  it('costs no memory to probe and to unpack', async () => {
    const unpack = async (): Promise<number> => {
      const file = await ImageFile.open(fixture.image);
      const raw = await unpackImage(file, await probeImage(file.fd)).finally(() => file.close());
      return (await raw.stat().finally(() => raw.close())).size;
    };
    writeFileSync(fixture.image, compressed);
    expect(await unpack()).toBe(bytes.length); // what any takes is taken now
    writePadded(fixture.image, compressed, streamOffset, 60 * MiB);
    const growth = await growthDuring(async () => expect(await unpack()).toBe(bytes.length + 60 * MiB));
    expect(growth).toBeLessThan(40 * MiB);
  });

  it('farther than any header says is not believed, whatever the reader says', async () => {
    writeFileSync(fixture.image, compressed);
    const fd = openSync(fixture.image, 'r');
    const honest = await probeImage(fd).finally(() => closeSync(fd));
    writePadded(fixture.image, compressed, streamOffset, 429 * MiB);
    const { size } = statSync(fixture.image);
    stand.plan = { says: { ...honest, bytes: size, streamOffset: streamOffset + 429 * MiB } };
    const growth = await growthDuring(() =>
      expect(fixture.offload()).rejects.toMatchObject({ kind: 'corrupt' }),
    );
    expect(growth).toBeLessThan(40 * MiB);
    expect(await listSnapshots(fixture.store)).toEqual([]);
  });

  it('of XML as long as may be costs the reader little', () => {
    const xml = domainXml().replace('<os>', `${'<a/>'.repeat((4 * MiB - 1000) / 4)}<os>`);
    writeFileSync(fixture.image, smallImage({ xml, frames: 2000 }).bytes);
    const limited = `ulimit -v ${300 * 1024}; exec build/Release/pars-reader probe 3<"$0" 4>&1`;
    const { status, stdout } = spawnSync('sh', ['-c', limited, fixture.image], { maxBuffer: 16 * MiB });
    expect(status).toBe(0);
    expect(stdout.toString()).toContain('"name":"guest"');
  });
});
