// SPDX-License-Identifier: Apache-2.0
/**
 * What a fingerprint sees of real file systems (R26): a change amid a mount, a rollback, and none where
 * nothing changed.
 */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  copyFileSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openFile } from '../../../src/disks/disk-bytes.js';
import { differences, type Fingerprint, fingerprintOf } from '../../../src/disks/fingerprint.js';
import { partitionsOf } from '../../../src/disks/partitions.js';
import { physicalVolumeImage } from '../../support/lvm-image.js';

const MiB = 1 << 20;
const isRoot = process.getuid?.() === 0;

let root: string;
let image: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pars-fingerprint-'));
  image = join(root, 'disk.img');
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function run(program: string, ...args: string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function newDisk(mib: number): void {
  closeSync(openSync(image, 'w'));
  truncateSync(image, mib * MiB);
}

async function look(path = image): Promise<Fingerprint> {
  const disk = await openFile(path, statSync(path).size);
  return fingerprintOf(disk).finally(() => disk.close());
}

function poke(offset: number, data: string): void {
  const file = openSync(image, 'r+');
  writeSync(file, data, offset);
  closeSync(file);
}

/**
 * Mounts, and hands on a copy of the disk as it is after each synced write: what a snapshot of a volume would
 * hold.
 */
function copiesWhileMounted(device: string, count: number): string[] {
  const at = join(root, 'mount');
  mkdirSync(at);
  run('mount', device, at);
  try {
    return Array.from({ length: count }, (_, n) => {
      const file = openSync(join(at, 'log'), 'a');
      appendFileSync(file, `entry ${n}\n`);
      fsyncSync(file);
      closeSync(file);
      run('sync', device);
      const copy = join(root, `copy-${n}`);
      copyFileSync(image, copy);
      return copy;
    });
  } finally {
    run('umount', at);
  }
}

function withLoop<T>(work: (device: string) => T, offset = 0): T {
  const device = run('losetup', '--show', '-f', '-o', String(offset), image).trim();
  try {
    return work(device);
  } finally {
    run('losetup', '-d', device);
  }
}

async function expectAllToDiffer(copies: readonly string[], mark: RegExp): Promise<void> {
  const looks = await Promise.all(copies.map(look));
  for (const [n, one] of looks.entries()) {
    for (const later of looks.slice(n + 1)) expect(differences(one, later).join(), `copy ${n}`).toMatch(mark);
    expect(differences(one, await look(copies[n]))).toEqual([]);
  }
}

describe.skipIf(!isRoot)('a file system that is mounted all along', () => {
  it.each<[fs: string, mib: number, mkfs: string[], mark: RegExp]>([
    ['ext4', 64, ['mke2fs', '-q', '-F', '-t', 'ext4'], /ext4 journal/],
    ['ext4 of 1 KiB blocks', 32, ['mke2fs', '-q', '-F', '-t', 'ext4', '-b', '1024'], /ext4 journal/],
    [
      'ext4 without checksums or 64 bit',
      32,
      ['mke2fs', '-q', '-F', '-t', 'ext4', '-O', '^metadata_csum,^64bit'],
      /ext4 journal/,
    ],
    ['XFS', 320, ['mkfs.xfs', '-q'], /XFS log/],
    ['btrfs', 128, ['mkfs.btrfs', '-q'], /btrfs super block at 65536/],
  ])(
    '%s: each synced write shows, though no super block of a mount does',
    async (_, mib, [program = '', ...args], mark) => {
      newDisk(mib);
      run(program, ...args, image);
      const copies = withLoop((device) => copiesWhileMounted(device, 3));
      await expectAllToDiffer(copies, mark);
    },
  );

  it('shows in a partition too, by the place of that', async () => {
    newDisk(64);
    execFileSync('sfdisk', ['-q', image], { input: 'label: gpt\nstart=2048, size=32768\nstart=65536\n' });
    const copies = withLoop((device) => {
      run('mke2fs', '-q', '-F', '-t', 'ext4', device, '28M');
      return copiesWhileMounted(device, 2);
    }, 32 * MiB);
    await expectAllToDiffer(copies, /ext4 journal at 33554432/);
  });
});

it('a logical volume of LVM is looked into, wherever it begins', async () => {
  const inner = join(root, 'inner');
  closeSync(openSync(inner, 'w'));
  truncateSync(inner, 16 * MiB);
  run('mke2fs', '-q', '-F', '-t', 'ext4', inner);
  const { bytes, volumeAt } = physicalVolumeImage(inner);
  newDisk(32);
  const file = openSync(image, 'r+');
  writeSync(file, bytes);
  closeSync(file);
  const before = await look();
  expect(before.marks.map(({ what, at }) => `${what} ${at}`)).toEqual(
    expect.arrayContaining(['LVM metadata 0', `ext4 journal ${volumeAt}`]),
  );
  poke(volumeAt + 1024 + 0x30, 'wtime');
  expect(differences(before, await look())).toEqual([expect.stringContaining(`first 64 KiB at ${volumeAt}`)]);
});

describe('what else differs', () => {
  it('tables, labels, both ends of the disk and its length', async () => {
    newDisk(16);
    const before = await look();
    truncateSync(image, 17 * MiB);
    expect(differences(before, await look())).toEqual(['was 16777216 bytes long, and is 17825792']);
    truncateSync(image, 16 * MiB);
    expect(differences(before, await look())).toEqual([]);
    for (const [offset, mark] of [
      [3, 'first 64 KiB'],
      [16 * MiB - 512, 'last 64 KiB'],
      [8 * MiB, 'sample of blocks'],
    ] as const) {
      poke(offset, 'x');
      expect(differences(before, await look())).toEqual([expect.stringContaining(mark)]);
      poke(offset, '\0');
    }
  });

  it('partitions are found by both kinds of table, logical ones too, and none outside the disk', async () => {
    newDisk(64);
    const starts = async (table: string): Promise<number[]> => {
      execFileSync('sfdisk', ['-q', '--wipe', 'always', image], { input: table });
      const disk = await openFile(image, 64 * MiB);
      return (await partitionsOf(disk).finally(() => disk.close())).map(({ start }) => start / MiB);
    };
    expect(await starts('label: gpt\nstart=2048, size=2048\nstart=8192, size=2048\n')).toEqual([1, 4]);
    const logical =
      'label: dos\nstart=2048, size=2048\nstart=8192, size=65536, type=5\nstart=10240, '
      + 'size=2048\nstart=16384, size=2048\n';
    expect(await starts(logical)).toEqual([1, 5, 8]);
    poke(446 + 8, '\xff\xff\xff\x7f');
    const disk = await openFile(image, 64 * MiB);
    expect((await partitionsOf(disk).finally(() => disk.close())).map(({ start }) => start / MiB)).toEqual([
      5, 8,
    ]);
  });
});

describe('a disk that its guest has written to deceive', () => {
  it('costs little: endless quotes, lists and journals, volumes that lie nowhere', async () => {
    const inner = join(root, 'inner');
    closeSync(openSync(inner, 'w'));
    truncateSync(inner, 8 * MiB);
    const { bytes } = physicalVolumeImage(inner);
    for (const text of [
      '"\\"'.repeat(100_000),
      '{='.repeat(200_000),
      'a{'.repeat(200_000),
      'a = [ '.repeat(100_000),
    ]) {
      const area = Buffer.from(bytes);
      area.writeBigUInt64LE(512n, 4096 + 40);
      area.writeBigUInt64LE(BigInt(text.length), 4096 + 48);
      area.write(text, 4096 + 512, 'latin1');
      writeFileSync(image, area);
      const began = process.cpuUsage();
      expect((await look()).marks.length).toBeGreaterThan(2);
      expect(process.cpuUsage(began).user).toBeLessThan(5e6);
    }
  });

  it.each([7, 11, 13, 17])('is looked at to its end whatever its bytes are (seed %i)', async (seed) => {
    newDisk(24);
    run('mke2fs', '-q', '-F', '-t', 'ext4', image, '16M');
    const data = readFileSync(image);
    let state = seed;
    for (let n = 0; n < 4000; n++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      data[n < 2000 ? 1024 + ((state >>> 8) % 1024) : (state >>> 8) % data.length] = state & 0xff;
    }
    writeFileSync(image, data);
    expect((await look()).bytes).toBe(24 * MiB);
  });
});
