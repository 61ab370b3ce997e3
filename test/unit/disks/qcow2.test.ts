// SPDX-License-Identifier: Apache-2.0
/** Where the bytes of qcow2 disks lie, on real images: what is read there is what QEMU makes of them. */
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { isReason } from '../../../src/disks/blockdev.js';
import { GuestDisks } from '../../../src/disks/guest-disks.js';
import { mapOfQcow2 } from '../../../src/disks/qemu-map.js';
import type { RecordedDisk } from '../../../src/disks/record.js';
import { native } from '../../../src/native.js';
import { reportImage } from '../../../src/reader/reader.js';
import { noisePage, PAGE, smallImage } from '../../support/image-builder.js';

const CLUSTER = 64 << 10;
const CLUSTERS = 16;
const KERNEL = 0;

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pars-qcow2-'));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(root, { recursive: true, force: true });
});

const at = (name: string): string => join(root, name);
const img = (...args: string[]): void => void execFileSync('qemu-img', args, { cwd: root });
const create = (...args: string[]): void => img('create', '-q', '-f', 'qcow2', ...args);
const io = (image: string, ...commands: string[]): void =>
  void execFileSync('qemu-io', [...commands.flatMap((command) => ['-c', command]), image], { cwd: root });

function noise(clusters: number): Buffer {
  return Buffer.concat(Array.from({ length: (clusters * CLUSTER) / PAGE }, (_, i) => noisePage(i)));
}

/** base <- middle <- top; one cluster of `top` compressed, one of `middle` zeros. */
function makeChain(): string {
  writeFileSync(at('base.raw'), Buffer.concat([noise(CLUSTERS - 1), Buffer.alloc(CLUSTER)]));
  create('-b', 'base.raw', '-F', 'raw', 'middle.qcow2');
  io('middle.qcow2', 'write -P 7 64k 128k', 'write -z 512k 64k');
  create('-b', 'middle.qcow2', '-F', 'qcow2', 'top.qcow2');
  io('top.qcow2', 'write -P 9 128k 64k', 'write -P 11 320k 64k', 'write -c -P 3 384k 64k');
  return at('top.qcow2');
}

function asGuestSees(image: string): Buffer {
  img('convert', '-O', 'raw', image, 'seen.raw');
  return readFileSync(at('seen.raw'));
}

function recorded(source: string, more: Partial<RecordedDisk> = {}): RecordedDisk {
  const { size: bytes } = statSync(source);
  const known = { bytes, mtimeNs: '1', identity: 'file 1:1' };
  return { target: 'vda', source, format: 'qcow2', readOnly: false, ...known, ...more };
}

function referenceTo(offset: number, bytes: Buffer): Buffer {
  const table = Buffer.alloc(8 + 32);
  table.writeUInt32LE(1, 0);
  table.writeUInt32LE(1, 4);
  table.writeBigUInt64LE(BigInt(offset), 8);
  table.writeUInt16LE(bytes.length / PAGE, 18);
  table.writeUInt8(KERNEL, 20);
  createHash('sha256').update(bytes).digest().copy(table, 24, 0, 16);
  return table;
}

/** By cluster: "same" as `expected`, "other", or "nowhere". */
async function readThrough(image: string, expected: Buffer): Promise<string[]> {
  const disks = await GuestDisks.toRead([recorded(image)]);
  try {
    const clusters: string[] = [];
    for (let offset = 0; offset < expected.length; offset += CLUSTER) {
      const bytes = expected.subarray(offset, offset + CLUSTER);
      const table = referenceTo(offset, bytes);
      const { data, lost } = await native().readReferences(table, CLUSTER / PAGE, disks.byNumber());
      if (lost.length === 0) expect(data.equals(bytes)).toBe(true);
      clusters.push(lost.length === 0 ? 'same' : lost[0]!.unreadable ? 'nowhere' : 'other');
    }
    return clusters;
  } finally {
    await disks.close();
  }
}

const SAME = Array.from({ length: CLUSTERS }, () => 'same');
const except = (...numbers: number[]): string[] =>
  SAME.map((word, i) => (numbers.includes(i) ? 'nowhere' : word));

describe('the bytes of a qcow2 disk', () => {
  it('are read from the files of its chain; not those that are compressed or zero', async () => {
    const top = makeChain();
    expect(await readThrough(top, asGuestSees(top))).toEqual(except(6, 8));
  });

  it('are the same ones after a commit, and on a converted copy', async () => {
    const top = makeChain();
    const seen = asGuestSees(top);
    img('convert', '-O', 'qcow2', top, 'copy.qcow2');
    img('commit', '-q', top);
    expect(await readThrough(top, seen)).toEqual(except(8));
    expect(await readThrough(at('copy.qcow2'), seen)).toEqual(except(8, 15));
  });

  it('are other ones once a cluster was written', async () => {
    const top = makeChain();
    const seen = asGuestSees(top);
    io(top, 'write -P 5 192k 512');
    const clusters = await readThrough(top, seen);
    expect(clusters.map((word, i) => [i, word]).filter(([, word]) => word === 'other')).toEqual([
      [3, 'other'],
    ]);
  });

  it('are in its data file if it has one', async () => {
    create('-o', 'data_file=data.raw', 'image.qcow2', '1M');
    io('image.qcow2', 'write -P 9 64k 64k');
    const seen = asGuestSees('image.qcow2');
    expect((await readThrough(at('image.qcow2'), seen))[1]).toBe('same');
    const map = await mapOfQcow2(at('image.qcow2'));
    expect(isReason(map) ? map : map.files).toEqual([at('image.qcow2'), at('data.raw')]);
  });

  it('may lie in pieces smaller than a page, and are read past no page cache then', async () => {
    create('-o', 'cluster_size=512', 'image.qcow2', '64k');
    io('image.qcow2', 'write -P 9 1k 1k', 'write -P 8 512 512', 'write -P 7 8k 8k');
    const map = await mapOfQcow2(at('image.qcow2'));
    if (isReason(map)) throw new Error(map.reason);
    expect(map.isAligned).toBe(false);
  });

  it('are those of the named format, whatever they look like', async () => {
    create('inner.qcow2', '1M');
    io('inner.qcow2', 'write -P 9 0 1M');
    img('create', '-q', '-f', 'raw', 'base.raw', '1M');
    writeFileSync(at('base.raw'), readFileSync(at('inner.qcow2')).subarray(0, 1 << 20));
    create('-b', 'base.raw', '-F', 'raw', 'top.qcow2');
    expect((await readThrough(at('top.qcow2'), readFileSync(at('base.raw')).subarray(0, CLUSTER)))[0]).toBe(
      'same',
    );
  });
});

describe('a qcow2 disk has no map', () => {
  const reasonOf = async (image: string): Promise<string> => {
    const map = await mapOfQcow2(at(image));
    return isReason(map) ? map.reason : 'it has one';
  };

  it('when the format below it is not told', async () => {
    makeChain();
    const top = readFileSync(at('top.qcow2'));
    const extension = top.indexOf(Buffer.from('e2792aca', 'hex'));
    top.writeUInt32BE(0x12345678, extension);
    writeFileSync(at('top.qcow2'), top);
    expect(await reasonOf('top.qcow2')).toMatch(/the format of .*middle.qcow2, below it, is not told/);
  });

  it('when it stands on something that is not a local file, or of another format', async () => {
    create('-u', '-b', 'nbd://host/disk', '-F', 'raw', 'remote.qcow2', '1M');
    create('-u', '-b', 'other.vmdk', '-F', 'vmdk', 'other.qcow2', '1M');
    expect(await reasonOf('remote.qcow2')).toMatch(/stands on something that is not a local file/);
    expect(await reasonOf('other.qcow2')).toMatch(/the format of .*other.vmdk/);
  });

  it('when it stands on itself', async () => {
    create('-u', '-b', 'other.qcow2', '-F', 'qcow2', 'one.qcow2', '1M');
    create('-u', '-b', 'one.qcow2', '-F', 'qcow2', 'other.qcow2', '1M');
    expect(await reasonOf('one.qcow2')).toMatch(/more than 64 files/);
  });

  it('when it is encrypted, damaged, or not there', async () => {
    const secret = ['--object', 'secret,id=key,data=secret'];
    // LUKS measures how fast the host is first, and gives up on a busy one.
    create(...secret, '-o', 'encrypt.format=aes,encrypt.key-secret=key', 'secret.qcow2', '1M');
    writeFileSync(at('raw.img'), Buffer.alloc(CLUSTER));
    expect(await reasonOf('secret.qcow2')).toMatch(/QEMU cannot open it: .*secret/);
    expect(await reasonOf('raw.img')).toMatch(/is not a qcow2 image/);
    expect(await reasonOf('none.qcow2')).toMatch(/is not a qcow2 image/);
  });

  it('when nobody waits for it any more', async () => {
    const top = makeChain();
    await expect(mapOfQcow2(top, AbortSignal.abort(new Error('stopped')))).rejects.toThrow(/stopped/);
  });
});

describe('a qcow2 disk to compare with', () => {
  it('has every file of its chain flushed, and is left out when one cannot be', async () => {
    const top = makeChain();
    const handle = await open(top, 'r');
    const prototype = Object.getPrototypeOf(handle) as FileHandle;
    await handle.close();
    const sync = vi.spyOn(prototype, 'sync').mockResolvedValue(undefined);
    const disks = await GuestDisks.toCompare([recorded(top)]);
    await disks.close();
    expect(disks.list().map(({ fds }) => fds.length)).toEqual([3]);
    expect(sync).toHaveBeenCalledTimes(3);
    const failed = Object.assign(new Error('input/output error'), { code: 'EIO' });
    sync.mockReset().mockResolvedValueOnce(undefined).mockRejectedValueOnce(failed);
    const without = await GuestDisks.toCompare([recorded(top)]);
    expect(without.list()).toEqual([]);
    expect(without.reason(0)).toMatch(/middle.qcow2 cannot be opened/);
  });

  it('needs every file below it to be known', async () => {
    const below = [{ source: at('base.raw'), bytes: 1, mtimeNs: '1', identity: null }];
    const disks = await GuestDisks.toCompare([recorded(makeChain(), { below })]);
    expect(disks.list()).toEqual([]);
  });

  it('is handed to the reader with its map, beside one that needs none', async () => {
    const top = makeChain();
    writeFileSync(at('plain.raw'), noise(1));
    writeFileSync(at('image'), smallImage().bytes);
    const image = await open(at('image'), 'r');
    const disks = await GuestDisks.toCompare([recorded(top), recorded(at('plain.raw'), { format: 'raw' })]);
    try {
      expect(disks.list().map(({ map }) => map === null)).toEqual([false, true]);
      const { references } = await reportImage(image.fd, {}, disks.list());
      expect(references).toMatchObject({ cached: 0, placed: 0, outOfTime: false });
      const short = disks.list().map((disk) => ({ ...disk, map: disk.map?.subarray(1) ?? null }));
      await expect(reportImage(image.fd, {}, short)).rejects.toThrow(/the reader ended with 2/);
    } finally {
      await disks.close();
      await image.close();
    }
  });

  it('counts with all its files among those that the reader takes', async () => {
    const top = makeChain();
    const disks = await GuestDisks.toCompare(Array.from({ length: 30 }, () => recorded(top)));
    await disks.close();
    expect(disks.list()).toHaveLength(21);
  });
});
