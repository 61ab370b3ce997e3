// SPDX-License-Identifier: Apache-2.0
/** Network disks, recorded when a guest's memory is stored and compared before it is resumed (R26). */
import { type ChildProcess, spawn } from 'node:child_process';
import { createConnection, createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { changesOfDisks } from '../../../src/disks/compare.js';
import type { NamedDisk } from '../../../src/disks/named-disk.js';
import { uncomparedIn } from '../../../src/disks/record.js';
import { failure } from '../../contract/store.js';
import { namedDisk } from '../../support/named-disk.js';
import { DiskDirectory, MiB, nbd, run, stored } from '../../support/recorded-disks.js';

let disks: DiskDirectory;

beforeEach(() => {
  disks = new DiskDirectory();
});
afterEach(() => disks.close());

/** A socket's file is there before anybody listens on it. */
const accepts = (socket: string): Promise<boolean> =>
  new Promise((resolve) => {
    const connection = createConnection(socket, () => connection.end(() => resolve(true)));
    connection.on('error', () => resolve(false));
  });

describe('a network disk', () => {
  let file: string;
  let socket: string;

  beforeEach(() => {
    file = disks.newFile('exported', 8 * MiB);
    socket = join(disks.path, 'nbd.sock');
  });

  async function serve(...args: string[]): Promise<ChildProcess> {
    const server = spawn('qemu-nbd', ['-t', '-k', socket, ...args, file], { stdio: 'ignore' });
    disks.undo.push(() => server.kill('SIGKILL'));
    await expect.poll(() => accepts(socket), { timeout: 20_000 }).toBe(true);
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
    const recorded = stored(await disks.record(disk));
    expect(recorded[0]).toMatchObject({ identity: null, contents: { bytes: 8 * MiB } });
    await disks.check(recorded, disk);
    const storage = `file.driver=nbd,file.server.type=unix,file.server.path=${socket},file.export=${name}`;
    run('qemu-io', '--image-opts', `driver=${disk.format},${storage}`, '-c', 'write -P 7 0 512');
    const { message } = await failure(disks.check(recorded, disk), 'refused');
    expect(message).toMatch(/vda \(nbd:\/\/.*\) has other contents \(its first 64 KiB/);
    expect(await changesOfDisks(recorded, disks.options)).toHaveLength(1);
  });

  it('that nobody serves is refused at a start, and cannot be compared at an offload', async () => {
    const disk = namedDisk({ type: 'network', network: nbd(socket) });
    expect(uncomparedIn(await disks.record(disk))).toEqual([
      expect.stringContaining('the NBD server cannot be reached'),
    ]);
    const server = await serve('-f', 'raw');
    const recorded = stored(await disks.record(disk));
    server.kill('SIGKILL');
    expect((await failure(disks.check(recorded, disk), 'refused')).message).toContain(
      'cannot be read: the NBD server cannot be reached',
    );
  });

  it('of a server that says nothing, or nonsense, is given up', async () => {
    const server = createServer((client) => client.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    disks.undo.push(() => server.close());
    expect(uncomparedIn(await disks.record(namedDisk({ type: 'network', network: nbd(socket) })))).toEqual([
      expect.stringContaining('its greeting is not'),
    ]);
  });

  it.each([
    ['tls', { ...nbd('/s'), tls: true }, 'TLS'],
    ['a secret', { ...nbd('/s'), protocol: 'iscsi', secret: true }, 'password'],
    ['an unknown protocol', { ...nbd('/s'), protocol: 'sheepdog' }, 'protocol sheepdog'],
  ])('with %s cannot be compared, and says why', async (_, network, says) => {
    const recorded = stored(await disks.record(namedDisk({ type: 'network', network, format: 'qcow2' })));
    expect(uncomparedIn(recorded)).toEqual([expect.stringContaining(says)]);
    expect((await failure(disks.check(recorded), 'refused')).hint).toContain('accept-uncompared-disks');
  });
});

it('other kinds cannot be compared, and a file below that is on a network is read through QEMU', async () => {
  for (const type of ['dir', 'nvme', 'vhostuser'])
    expect(uncomparedIn(await disks.record(namedDisk({ type })))).toEqual([
      expect.stringContaining(`type ${type}`),
    ]);
  const top = join(disks.path, 'top');
  run(
    'qemu-img',
    'create',
    '-q',
    '-u',
    '-f',
    'qcow2',
    '-b',
    `nbd+unix:///?socket=${disks.path}/none`,
    '-F',
    'raw',
    top,
    '1M',
  );
  expect(uncomparedIn(await disks.record(namedDisk({ source: top, format: 'qcow2' })))).toEqual([
    expect.stringContaining('QEMU cannot open it'),
  ]);
});
