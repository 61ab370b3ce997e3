// SPDX-License-Identifier: Apache-2.0
/**
 * Disks recorded when a guest's memory is stored, and compared before it is resumed (R26): every kind that a
 * guest can have.
 */
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkDisks, checkDisksElsewhere } from '../../../src/disks/compare.js';
import type { NamedDisk } from '../../../src/disks/named-disk.js';
import { type RecordedDisk, uncomparedIn } from '../../../src/disks/record.js';
import { failure } from '../../contract/store.js';
import { namedDisk } from '../../support/named-disk.js';
import { DiskDirectory, MiB, nbd, run, stored } from '../../support/recorded-disks.js';

const isRoot = process.getuid?.() === 0;

let disks: DiskDirectory;

beforeEach(() => {
  disks = new DiskDirectory();
});
afterEach(() => disks.close());

function write(path: string, offset: number, text: string): void {
  const file = openSync(path, 'r+');
  writeSync(file, text, offset);
  closeSync(file);
}

describe('read-only disks', () => {
  it('are compared like writable ones: an appliance is rebuilt in place', async () => {
    const disk = namedDisk({ source: disks.newFile('root.squashfs'), readOnly: true });
    const recorded = stored(await disks.record(disk));
    await disks.check(recorded, disk);
    write(disk.source, 4096, 'other code');
    utimesSync(disk.source, new Date(0), new Date(0));
    expect((await failure(disks.check(recorded, disk), 'refused')).message).toMatch(
      /vda \(.*squashfs\) was last written/,
    );
  });

  it('but optical drives are not: their media come and go', async () => {
    const disk = namedDisk({ device: 'cdrom', source: disks.newFile('a.iso'), readOnly: true });
    const recorded = stored(await disks.record(disk));
    rmSync(disk.source);
    await disks.check(recorded, { ...disk, source: '/b.iso' });
    for (const drive of [
      namedDisk({ device: 'cdrom' }),
      namedDisk({ device: 'floppy', type: 'block' }),
      namedDisk({ device: 'cdrom', type: 'volume', pool: 'no', volume: 'x' }),
    ]) {
      const empty = await disks.record(drive);
      expect(uncomparedIn(empty)).toEqual([]);
      await disks.check(stored(empty), drive);
    }
  });
});

describe('what earlier versions recorded', () => {
  const old = (changes: Partial<RecordedDisk>): RecordedDisk => ({
    target: 'vda',
    source: '',
    bytes: null,
    mtimeNs: null,
    identity: null,
    readOnly: false,
    ...changes,
  });

  it('starts as it did: what has no identity is taken for unchanged', async () => {
    await disks.check([old({})], namedDisk({ type: 'network', network: nbd('/socket') }));
    await disks.check([old({})], namedDisk({ type: 'volume', pool: 'p', volume: 'v' }));
    await disks.check(
      [old({ source: '/cd.iso', readOnly: true, identity: 'file 1:2', bytes: 1, mtimeNs: '1' })],
      namedDisk({ device: 'cdrom', source: '/cd.iso', readOnly: true }),
    );
  });

  it('but read-only disks are told from optical ones by the domain XML, and compared', async () => {
    const source = disks.newFile('root');
    const [{ identity, bytes, mtimeNs } = old({})] = await disks.record(namedDisk({ source }));
    const recorded = [old({ source, readOnly: true, identity, bytes, mtimeNs })];
    await disks.check(recorded, namedDisk({ source, readOnly: true }));
    utimesSync(source, new Date(0), new Date(0));
    await failure(disks.check(recorded, namedDisk({ source, readOnly: true })), 'refused');
    await disks.check(recorded);
  });
});

describe('a volume of a pool', () => {
  const disk = namedDisk({ type: 'volume', pool: 'images', volume: 'web.img' });
  const define = (path: string, type = 'dir'): void => {
    mkdirSync(join(disks.path, 'pools'), { recursive: true });
    writeFileSync(
      join(disks.path, 'pools', 'images.xml'),
      `<pool type='${type}'><name>images</name><source><name>vg</name></source>`
        + `<target><path>${path}</path></target></pool>`,
    );
  };

  it('is told by its file', async () => {
    define(disks.path);
    const path = disks.newFile('web.img');
    const recorded = stored(await disks.record(disk));
    expect(recorded[0]).toMatchObject({
      source: path,
      pool: { name: 'images', volume: 'web.img', path: disks.path },
      identity: expect.stringContaining('file'),
    });
    await disks.check(recorded, disk);
    renameSync(path, `${path}.old`);
    copyFileSync(`${path}.old`, path);
    expect((await failure(disks.check(recorded, disk), 'refused')).message).toMatch(
      /vda \(.*web\.img\) was replaced by another file/,
    );
    renameSync(`${path}.old`, path);
    await disks.check(recorded, disk);
  });

  it('is another one when its pool is, or the domain XML names another', async () => {
    define(disks.path);
    disks.newFile('web.img');
    const recorded = stored(await disks.record(disk));
    expect(
      (await failure(disks.check(recorded, { ...disk, volume: 'db.img' }), 'refused')).message,
    ).toContain('names db.img in pool images now');
    expect(
      (await failure(disks.check(recorded, namedDisk({ source: '/web.img' })), 'refused')).message,
    ).toContain('names /web.img now');
    define('/elsewhere');
    expect((await failure(disks.check(recorded, disk), 'refused')).message).toContain(
      `was in pool images at ${disks.path}, and that pool is at /elsewhere now`,
    );
  });

  it('of no pool of this host, or of one without paths, cannot be compared', async () => {
    expect(uncomparedIn(await disks.record(disk))).toEqual([
      'vda (web.img in pool images) cannot be compared: this host has no storage pool images',
    ]);
    define('', 'rbd');
    const recorded = await disks.record(disk);
    expect(uncomparedIn(recorded)).toEqual([expect.stringContaining('a pool of type rbd')]);
    expect((await failure(disks.check(stored(recorded), disk), 'refused')).message).toContain(
      'nobody can tell whether',
    );
    await checkDisks(recorded, { ...disks.options, acceptUncompared: true, named: [disk] });
  });
});

describe.skipIf(!isRoot)('a block device', () => {
  let backing: string;
  let device: string;

  beforeEach(() => {
    backing = disks.newFile('backing', 64 * MiB);
    run('mke2fs', '-q', '-F', '-t', 'ext4', backing);
    device = setUp();
  });

  function setUp(): string {
    const name = run('losetup', '--show', '-f', backing);
    disks.undo.push(() => run('losetup', '-d', name));
    return name;
  }

  /** Another device of the same contents: the count of writes begins again. */
  function setUpAgain(): void {
    run('losetup', '-d', device);
    disks.undo.pop();
    device = setUp();
  }

  const disk = (): NamedDisk => namedDisk({ type: 'block', source: device });
  const recordedOn = (recorded: RecordedDisk[]): RecordedDisk[] =>
    recorded.map((one) => ({ ...one, source: device }));

  it('that is as it was is taken, also when it was set up again', async () => {
    const recorded = stored(await disks.record(disk()));
    expect(recorded[0]).toMatchObject({
      bytes: 64 * MiB,
      mtimeNs: null,
      fingerprint: { bytes: 64 * MiB },
      written: { sectors: expect.any(Number) },
    });
    await disks.check(recorded, disk());
    setUpAgain();
    await disks.check(recordedOn(recorded), disk());
  });

  it('that the host has written to is refused by the count of writes, wherever they went', async () => {
    const recorded = stored(await disks.record(disk()));
    write(device, 33 * MiB + 4096 * 3, 'x');
    run('blockdev', '--flushbufs', device);
    expect((await failure(disks.check(recorded, disk()), 'refused')).message).toMatch(
      /was written to since, \d+ bytes through this host/,
    );
  });

  it('that was rolled back, or mounted elsewhere, is refused by what it holds', async () => {
    const snapshot = join(disks.path, 'snapshot');
    copyFileSync(backing, snapshot);
    const at = join(disks.path, 'mount');
    mkdirSync(at);
    run('mount', device, at);
    writeFileSync(join(at, 'file'), 'synced');
    run('umount', at);
    const recorded = stored(await disks.record(disk()));
    setUpAgain();
    await disks.check(recordedOn(recorded), disk());
    const now = join(disks.path, 'now');
    run('cp', '--sparse=always', backing, now);
    run('dd', 'status=none', `if=${snapshot}`, `of=${backing}`, 'bs=1M', 'conv=notrunc,fsync');
    setUpAgain();
    expect((await failure(disks.check(recordedOn(recorded), disk()), 'refused')).message).toMatch(
      /has other contents \(its first 64 KiB, ext4 journal/,
    );
    run('dd', 'status=none', `if=${now}`, `of=${backing}`, 'bs=1M', 'conv=notrunc,fsync');
    setUpAgain();
    await disks.check(recordedOn(recorded), disk());
    run('mount', device, at);
    run('umount', at);
    setUpAgain();
    expect((await failure(disks.check(recordedOn(recorded), disk()), 'refused')).message).toContain(
      'has other contents',
    );
  });

  it('that holds a qcow2 image is told by what the guest sees in it', async () => {
    run('qemu-img', 'create', '-q', '-f', 'qcow2', device, '32M');
    run('qemu-io', '-f', 'qcow2', '-c', 'write -P 1 0 32M', device);
    const qcow2 = { ...disk(), format: 'qcow2' };
    const recorded = stored(await disks.record(qcow2));
    expect(recorded[0]).toMatchObject({ contents: { bytes: 32 * MiB } });
    expect(recorded[0]).not.toHaveProperty('fingerprint');
    setUpAgain();
    await disks.check(recordedOn(recorded), { ...qcow2, source: device });
    run('qemu-io', '-f', 'qcow2', '-c', 'write -P 2 8M 4k', device);
    setUpAgain();
    expect(
      (await failure(disks.check(recordedOn(recorded), { ...qcow2, source: device }), 'refused')).message,
    ).toContain('sample of blocks');
  });

  it('elsewhere is told by what it holds, and so is a copy of it in a file', async () => {
    const recorded = stored(await disks.record(disk()));
    const elsewhere = (moved: Map<string, string>): Promise<void> =>
      checkDisksElsewhere(recorded, { ...disks.options, moved, acceptUncompared: false });
    await elsewhere(new Map());
    const copy = join(disks.path, 'copy');
    copyFileSync(backing, copy);
    await elsewhere(new Map([['vda', copy]]));
    write(copy, 1024 + 0x30, 'x');
    expect((await failure(elsewhere(new Map([['vda', copy]])), 'refused')).message).toContain('first 64 KiB');
  });
});
