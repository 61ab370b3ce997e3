// SPDX-License-Identifier: Apache-2.0
/**
 * Disks recorded when a guest's memory is stored, and compared before it is resumed (R26): every kind that a
 * guest can have.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { changesOfDisks, checkDisks, checkDisksElsewhere } from '../../../src/disks/compare.js';
import type { NamedDisk, NetworkSource } from '../../../src/disks/named-disk.js';
import { type RecordedDisk, recordDisks, uncomparedIn } from '../../../src/disks/record.js';
import { failure } from '../../contract/store.js';
import { namedDisk } from '../../support/named-disk.js';

const MiB = 1 << 20;
const isRoot = process.getuid?.() === 0;

let root: string;
let undo: (() => void)[];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pars-disks-'));
  undo = [];
});
afterEach(() => {
  for (const step of undo.reverse()) step();
  rmSync(root, { recursive: true, force: true });
});

const options = (): { askLibvirt: false; poolDirectories: string[] } => ({
  askLibvirt: false,
  poolDirectories: [join(root, 'pools')],
});
const record = async (disk: NamedDisk): Promise<RecordedDisk[]> => recordDisks([disk], options());
const check = (recorded: RecordedDisk[], disk?: NamedDisk): Promise<void> =>
  checkDisks(recorded, { ...options(), acceptUncompared: false, ...(disk && { named: [disk] }) });

function newFile(name: string, bytes = MiB): string {
  const path = join(root, name);
  closeSync(openSync(path, 'w'));
  truncateSync(path, bytes);
  return path;
}

function write(path: string, offset: number, text: string): void {
  const file = openSync(path, 'r+');
  writeSync(file, text, offset);
  closeSync(file);
}

/** All that a disk says of itself goes through JSON once. */
function stored(recorded: RecordedDisk[]): RecordedDisk[] {
  return JSON.parse(JSON.stringify(recorded)) as RecordedDisk[];
}

function run(program: string, ...args: string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
}

describe('read-only disks', () => {
  it('are compared like writable ones: an appliance is rebuilt in place', async () => {
    const disk = namedDisk({ source: newFile('root.squashfs'), readOnly: true });
    const recorded = stored(await record(disk));
    await check(recorded, disk);
    write(disk.source, 4096, 'other code');
    utimesSync(disk.source, new Date(0), new Date(0));
    expect((await failure(check(recorded, disk), 'refused')).message).toMatch(
      /vda \(.*squashfs\) was last written/,
    );
  });

  it('but optical drives are not: their media come and go', async () => {
    const disk = namedDisk({ device: 'cdrom', source: newFile('a.iso'), readOnly: true });
    const recorded = stored(await record(disk));
    rmSync(disk.source);
    await check(recorded, { ...disk, source: '/b.iso' });
    for (const drive of [
      namedDisk({ device: 'cdrom' }),
      namedDisk({ device: 'floppy', type: 'block' }),
      namedDisk({ device: 'cdrom', type: 'volume', pool: 'no', volume: 'x' }),
    ]) {
      const empty = await record(drive);
      expect(uncomparedIn(empty)).toEqual([]);
      await check(stored(empty), drive);
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
    await check([old({})], namedDisk({ type: 'network', network: nbd('/socket') }));
    await check([old({})], namedDisk({ type: 'volume', pool: 'p', volume: 'v' }));
    await check(
      [old({ source: '/cd.iso', readOnly: true, identity: 'file 1:2', bytes: 1, mtimeNs: '1' })],
      namedDisk({ device: 'cdrom', source: '/cd.iso', readOnly: true }),
    );
  });

  it('but read-only disks are told from optical ones by the domain XML, and compared', async () => {
    const source = newFile('root');
    const [{ identity, bytes, mtimeNs } = old({})] = await record(namedDisk({ source }));
    const recorded = [old({ source, readOnly: true, identity, bytes, mtimeNs })];
    await check(recorded, namedDisk({ source, readOnly: true }));
    utimesSync(source, new Date(0), new Date(0));
    await failure(check(recorded, namedDisk({ source, readOnly: true })), 'refused');
    await check(recorded);
  });
});

describe('a volume of a pool', () => {
  const disk = namedDisk({ type: 'volume', pool: 'images', volume: 'web.img' });
  const define = (path: string, type = 'dir'): void => {
    mkdirSync(join(root, 'pools'), { recursive: true });
    writeFileSync(
      join(root, 'pools', 'images.xml'),
      `<pool type='${type}'><name>images</name><source><name>vg</name></source><target><path>${path}</path></target></pool>`,
    );
  };

  it('is told by its file', async () => {
    define(root);
    const path = newFile('web.img');
    const recorded = stored(await record(disk));
    expect(recorded[0]).toMatchObject({
      source: path,
      pool: { name: 'images', volume: 'web.img', path: root },
      identity: expect.stringContaining('file'),
    });
    await check(recorded, disk);
    renameSync(path, `${path}.old`);
    copyFileSync(`${path}.old`, path);
    expect((await failure(check(recorded, disk), 'refused')).message).toMatch(
      /vda \(.*web\.img\) was replaced by another file/,
    );
    renameSync(`${path}.old`, path);
    await check(recorded, disk);
  });

  it('is another one when its pool is, or the domain XML names another', async () => {
    define(root);
    newFile('web.img');
    const recorded = stored(await record(disk));
    expect((await failure(check(recorded, { ...disk, volume: 'db.img' }), 'refused')).message).toContain(
      'names db.img in pool images now',
    );
    expect((await failure(check(recorded, namedDisk({ source: '/web.img' })), 'refused')).message).toContain(
      'names /web.img now',
    );
    define('/elsewhere');
    expect((await failure(check(recorded, disk), 'refused')).message).toContain(
      `was in pool images at ${root}, and that pool is at /elsewhere now`,
    );
  });

  it('of no pool of this host, or of one without paths, cannot be compared', async () => {
    expect(uncomparedIn(await record(disk))).toEqual([
      'vda (web.img in pool images) cannot be compared: this host has no storage pool images',
    ]);
    define('', 'rbd');
    const recorded = await record(disk);
    expect(uncomparedIn(recorded)).toEqual([expect.stringContaining('a pool of type rbd')]);
    expect((await failure(check(stored(recorded), disk), 'refused')).message).toContain(
      'nobody can tell whether',
    );
    await checkDisks(recorded, { ...options(), acceptUncompared: true, named: [disk] });
  });
});

describe.skipIf(!isRoot)('a block device', () => {
  let backing: string;
  let device: string;

  beforeEach(() => {
    backing = newFile('backing', 64 * MiB);
    run('mke2fs', '-q', '-F', '-t', 'ext4', backing);
    device = setUp();
  });

  function setUp(): string {
    const name = run('losetup', '--show', '-f', backing);
    undo.push(() => run('losetup', '-d', name));
    return name;
  }

  /** Another device of the same contents: the count of writes begins again. */
  function setUpAgain(): void {
    run('losetup', '-d', device);
    undo.pop();
    device = setUp();
  }

  const disk = (): NamedDisk => namedDisk({ type: 'block', source: device });
  const recordedOn = (recorded: RecordedDisk[]): RecordedDisk[] =>
    recorded.map((one) => ({ ...one, source: device }));

  it('that is as it was is taken, also when it was set up again', async () => {
    const recorded = stored(await record(disk()));
    expect(recorded[0]).toMatchObject({
      bytes: 64 * MiB,
      mtimeNs: null,
      fingerprint: { bytes: 64 * MiB },
      written: { sectors: expect.any(Number) },
    });
    await check(recorded, disk());
    setUpAgain();
    await check(recordedOn(recorded), disk());
  });

  it('that the host has written to is refused by the count of writes, wherever they went', async () => {
    const recorded = stored(await record(disk()));
    write(device, 33 * MiB + 4096 * 3, 'x');
    run('blockdev', '--flushbufs', device);
    expect((await failure(check(recorded, disk()), 'refused')).message).toMatch(
      /was written to since, \d+ bytes through this host/,
    );
  });

  it('that was rolled back, or mounted elsewhere, is refused by what it holds', async () => {
    const snapshot = join(root, 'snapshot');
    copyFileSync(backing, snapshot);
    const at = join(root, 'mount');
    mkdirSync(at);
    run('mount', device, at);
    writeFileSync(join(at, 'file'), 'synced');
    run('umount', at);
    const recorded = stored(await record(disk()));
    setUpAgain();
    await check(recordedOn(recorded), disk());
    const now = join(root, 'now');
    run('cp', '--sparse=always', backing, now);
    run('dd', 'status=none', `if=${snapshot}`, `of=${backing}`, 'bs=1M', 'conv=notrunc,fsync');
    setUpAgain();
    expect((await failure(check(recordedOn(recorded), disk()), 'refused')).message).toMatch(
      /has other contents \(its first 64 KiB, ext4 journal/,
    );
    run('dd', 'status=none', `if=${now}`, `of=${backing}`, 'bs=1M', 'conv=notrunc,fsync');
    setUpAgain();
    await check(recordedOn(recorded), disk());
    run('mount', device, at);
    run('umount', at);
    setUpAgain();
    expect((await failure(check(recordedOn(recorded), disk()), 'refused')).message).toContain(
      'has other contents',
    );
  });

  it('that holds a qcow2 image is told by what the guest sees in it', async () => {
    run('qemu-img', 'create', '-q', '-f', 'qcow2', device, '32M');
    run('qemu-io', '-f', 'qcow2', '-c', 'write -P 1 0 32M', device);
    const qcow2 = { ...disk(), format: 'qcow2' };
    const recorded = stored(await record(qcow2));
    expect(recorded[0]).toMatchObject({ contents: { bytes: 32 * MiB } });
    expect(recorded[0]).not.toHaveProperty('fingerprint');
    setUpAgain();
    await check(recordedOn(recorded), { ...qcow2, source: device });
    run('qemu-io', '-f', 'qcow2', '-c', 'write -P 2 8M 4k', device);
    setUpAgain();
    expect(
      (await failure(check(recordedOn(recorded), { ...qcow2, source: device }), 'refused')).message,
    ).toContain('sample of blocks');
  });

  it('elsewhere is told by what it holds, and so is a copy of it in a file', async () => {
    const recorded = stored(await record(disk()));
    const elsewhere = (moved: Map<string, string>): Promise<void> =>
      checkDisksElsewhere(recorded, { ...options(), moved, acceptUncompared: false });
    await elsewhere(new Map());
    const copy = join(root, 'copy');
    copyFileSync(backing, copy);
    await elsewhere(new Map([['vda', copy]]));
    write(copy, 1024 + 0x30, 'x');
    expect((await failure(elsewhere(new Map([['vda', copy]])), 'refused')).message).toContain('first 64 KiB');
  });
});

function nbd(socket: string, name = ''): NetworkSource {
  return {
    protocol: 'nbd',
    name,
    hosts: [{ transport: 'unix', name: '', port: '', socket }],
    tls: false,
    user: '',
    secret: false,
    config: '',
    snapshot: '',
    query: '',
  };
}

describe('a network disk', () => {
  let file: string;
  let socket: string;

  beforeEach(() => {
    file = newFile('exported', 8 * MiB);
    socket = join(root, 'nbd.sock');
  });

  async function serve(...args: string[]): Promise<ChildProcess> {
    const server = spawn('qemu-nbd', ['-t', '-k', socket, ...args, file], { stdio: 'ignore' });
    undo.push(() => server.kill('SIGKILL'));
    await expect.poll(() => existsSync(socket), { timeout: 20_000 }).toBe(true);
    return server;
  }

  it.each<[string, Partial<NamedDisk>, string[], string]>([
    ['raw, asked by us', {}, ['-f', 'raw', '-x', 'disk'], 'disk'],
    ['qcow2, opened by QEMU', { format: 'qcow2' }, ['-f', 'raw'], ''],
  ])('of nbd (%s) is told by its contents', async (_, changes, args, name) => {
    if (changes.format === 'qcow2') {
      run('qemu-img', 'create', '-q', '-f', 'qcow2', file, '8M');
      run('qemu-io', '-f', 'qcow2', '-c', 'write -P 1 0 8M', file); // an export does not grow
    }
    await serve(...args);
    const disk = namedDisk({ type: 'network', network: nbd(socket, name), ...changes });
    const recorded = stored(await record(disk));
    expect(recorded[0]).toMatchObject({ identity: null, contents: { bytes: 8 * MiB } });
    await check(recorded, disk);
    const storage = `file.driver=nbd,file.server.type=unix,file.server.path=${socket},file.export=${name}`;
    run('qemu-io', '--image-opts', `driver=${disk.format},${storage}`, '-c', 'write -P 7 0 512');
    const { message } = await failure(check(recorded, disk), 'refused');
    expect(message).toMatch(/vda \(nbd:\/\/.*\) has other contents \(its first 64 KiB/);
    expect(await changesOfDisks(recorded, options())).toHaveLength(1);
  });

  it('that nobody serves at a start is refused, and cannot be compared when nobody serves it at the offload', async () => {
    const disk = namedDisk({ type: 'network', network: nbd(socket) });
    expect(uncomparedIn(await record(disk))).toEqual([
      expect.stringContaining('the NBD server cannot be reached'),
    ]);
    const server = await serve('-f', 'raw');
    const recorded = stored(await record(disk));
    server.kill('SIGKILL');
    expect((await failure(check(recorded, disk), 'refused')).message).toContain(
      'cannot be read: the NBD server cannot be reached',
    );
  });

  it('of a server that says nothing, or nonsense, is given up', async () => {
    const server = createServer((client) => client.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    undo.push(() => server.close());
    expect(uncomparedIn(await record(namedDisk({ type: 'network', network: nbd(socket) })))).toEqual([
      expect.stringContaining('its greeting is not'),
    ]);
  });

  it.each([
    ['tls', { ...nbd('/s'), tls: true }, 'TLS'],
    ['a secret', { ...nbd('/s'), protocol: 'iscsi', secret: true }, 'password'],
    ['an unknown protocol', { ...nbd('/s'), protocol: 'sheepdog' }, 'protocol sheepdog'],
  ])('with %s cannot be compared, and says why', async (_, network, says) => {
    const recorded = stored(await record(namedDisk({ type: 'network', network, format: 'qcow2' })));
    expect(uncomparedIn(recorded)).toEqual([expect.stringContaining(says)]);
    expect((await failure(check(recorded), 'refused')).hint).toContain('accept-uncompared-disks');
  });
});

it('other kinds have nothing to be compared by, and a file below that is on a network is read through QEMU', async () => {
  for (const type of ['dir', 'nvme', 'vhostuser'])
    expect(uncomparedIn(await record(namedDisk({ type })))).toEqual([
      expect.stringContaining(`type ${type}`),
    ]);
  const top = join(root, 'top');
  run(
    'qemu-img',
    'create',
    '-q',
    '-u',
    '-f',
    'qcow2',
    '-b',
    `nbd+unix:///?socket=${root}/none`,
    '-F',
    'raw',
    top,
    '1M',
  );
  expect(uncomparedIn(await record(namedDisk({ source: top, format: 'qcow2' })))).toEqual([
    expect.stringContaining('QEMU cannot open it'),
  ]);
});
