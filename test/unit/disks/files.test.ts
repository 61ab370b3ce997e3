// SPDX-License-Identifier: Apache-2.0
/** Disks that are files, and what a qcow2 image stands on (R26). */
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkDisks } from '../../../src/disks/compare.js';
import type { NamedDisk } from '../../../src/disks/named-disk.js';
import { type RecordedDisk, recordDisks } from '../../../src/disks/record.js';
import { failure } from '../../contract/store.js';
import { namedDisk } from '../../support/named-disk.js';

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pars-files-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const recordAt = (source: string, changes: Partial<NamedDisk> = {}): Promise<RecordedDisk[]> =>
  recordDisks([namedDisk({ source, ...changes })], { askLibvirt: false });
const check = (recorded: RecordedDisk[]): Promise<void> =>
  checkDisks(recorded, { askLibvirt: false, acceptUncompared: false });

describe('disks that moved on (R26)', () => {
  const stamp = new Date('2026-11-25T10:00:00Z');
  let disk: string;

  beforeEach(() => {
    disk = join(root, 'disk.img');
    writeFileSync(disk, Buffer.alloc(4096));
    utimesSync(disk, stamp, stamp);
  });

  const record = (readOnly: boolean): Promise<RecordedDisk[]> => recordAt(disk, { readOnly });

  it.each<[how: string, change: () => void, says: RegExp]>([
    ['touched', () => utimesSync(disk, new Date(), new Date()), /last written 2026-11-25T10:00:00.000Z/],
    [
      'resized',
      () => (truncateSync(disk, 8192), utimesSync(disk, stamp, stamp)),
      /was 4096 bytes long, and is 8192/,
    ],
    ['moved away', () => renameSync(disk, `${disk}.old`), /is not there/],
    [
      'replaced by a copy with the same time',
      () => (cpSync(disk, `${disk}.new`, { preserveTimestamps: true }), renameSync(`${disk}.new`, disk)),
      /was replaced by another file/,
    ],
  ])('are named when %s', async (_, change, says) => {
    const recorded = [await record(false), await record(true)];
    for (const one of recorded) await check(one);
    change();
    for (const one of recorded) {
      const error = await failure(check(one), 'refused');
      expect(error.message).toContain(`vda (${disk})`);
      expect(error.message).toMatch(says);
    }
  });

  describe('in qcow2', () => {
    const qcow2 = (...args: string[]): void =>
      void execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...args], { cwd: root });
    const recordQcow2 = (name: string): Promise<RecordedDisk[]> =>
      recordAt(join(root, name), { format: 'qcow2' });

    beforeEach(() => {
      qcow2('-b', disk, '-F', 'raw', 'middle');
      qcow2('-b', 'middle', '-F', 'qcow2', 'top');
    });

    it('are recorded with all that is below them', async () => {
      const [recorded] = await recordQcow2('top');
      expect(recorded?.below?.map(({ source }) => source)).toEqual([join(root, 'middle'), disk]);
    });

    it.each([
      ['the disk', 'top'],
      ['its backing file', 'middle'],
      ["that one's backing file", 'disk.img'],
    ])('are named when %s is touched', async (_, name) => {
      const recorded = await recordQcow2('top');
      await check(recorded);
      utimesSync(join(root, name), new Date(0), new Date(0));
      expect((await failure(check(recorded), 'refused')).message).toContain(join(root, name));
    });

    it.each(['elsewhere', 'base'])(
      'are named when a file that only their XML names is touched: %s',
      async (name) => {
        qcow2('base', '1M');
        qcow2('-b', 'base', '-F', 'qcow2', 'elsewhere');
        const backing = [{ source: join(root, 'elsewhere'), format: 'qcow2' }];
        const recorded = await recordAt(join(root, 'top'), { format: 'qcow2', backing });
        await check(recorded);
        utimesSync(join(root, name), new Date(0), new Date(0));
        expect((await failure(check(recorded), 'refused')).message).toContain(join(root, name));
      },
    );

    it('cannot be compared when their XML names what is no file', async () => {
      const backing = [{ source: '', format: 'raw' }];
      const [recorded] = await recordAt(join(root, 'top'), { format: 'qcow2', backing });
      expect(recorded?.uncompared).toMatch(/more than local files/);
    });

    it('are named when the last file of a chain is touched whose formats are not told', async () => {
      const top = join(root, 'top');
      const image = readFileSync(top);
      // The extension that names the format, which older tools did not write, becomes one that nobody knows.
      image.writeUInt32BE(0x12345678, image.indexOf(Buffer.from('e2792aca', 'hex')));
      writeFileSync(top, image);
      const recorded = await recordQcow2('top');
      await check(recorded);
      utimesSync(disk, new Date(0), new Date(0));
      expect((await failure(check(recorded), 'refused')).message).toContain(disk);
    });

    it('are not told by the files alone when the last one may stand on others', async () => {
      execFileSync('qemu-img', ['create', '-q', '-f', 'vmdk', join(root, 'below.vmdk'), '1M']);
      qcow2('-b', 'below.vmdk', '-F', 'vmdk', 'over');
      const [recorded] = await recordQcow2('over');
      expect(recorded?.uncompared ?? recorded?.contents).toBeDefined();
    });

    it('are named when their data file is touched', async () => {
      qcow2('-o', 'data_file=clusters,data_file_raw=on', 'outer', '1M');
      const recorded = await recordQcow2('outer');
      utimesSync(join(root, 'clusters'), new Date(0), new Date(0));
      expect((await failure(check(recorded), 'refused')).message).toContain(
        'clusters, below vda, was last written',
      );
    });

    it(
      'are followed no further than their images say: not by what a raw one holds, not in ' + 'circles',
      async () => {
        const raw = await recordAt(join(root, 'top'));
        expect(raw[0]?.below).toBeUndefined();
        cpSync(join(root, 'top'), disk);
        expect((await recordQcow2('top'))[0]?.below).toHaveLength(2);
        qcow2('-u', '-b', 'there', '-F', 'qcow2', 'here', '1M');
        qcow2('-u', '-b', 'here', '-F', 'qcow2', 'there', '1M');
        expect((await recordQcow2('here'))[0]?.below).toHaveLength(1);
        writeFileSync(join(root, 'cut'), readFileSync(join(root, 'top')).subarray(0, 110));
        expect((await recordQcow2('cut'))[0]?.below).toBeUndefined();
      },
    );
  });

  describe('in other formats', () => {
    const create = (...args: string[]): void =>
      void execFileSync('qemu-img', ['create', '-q', ...args], { cwd: root });
    const change = (name: string): void => {
      const file = join(root, name);
      const bytes = readFileSync(file);
      bytes.write('another guest was here', 0);
      writeFileSync(file, bytes);
      utimesSync(file, stamp, stamp);
    };

    it.each([
      ['an extent of a VMDK disk', 'vmdk', ['-o', 'subformat=monolithicFlat'], ['1M'], 'top-flat.vmdk'],
      ['what a VMDK disk stands on', 'vmdk', ['-b', 'base.vmdk', '-F', 'vmdk'], [], 'base-flat.vmdk'],
      ['what a QED disk stands on', 'qed', ['-b', 'disk.img', '-F', 'raw'], [], 'disk.img'],
    ])('are named when %s has changed', async (_, format, options, size, below) => {
      create('-f', 'vmdk', '-o', 'subformat=monolithicFlat', 'base.vmdk', '1M');
      create('-f', format, ...options, `top.${format}`, ...size);
      const recorded = await recordAt(join(root, `top.${format}`), { format });
      await check(recorded);
      change(below);
      expect((await failure(check(recorded), 'refused')).message).toContain('vda');
    });

    it('are told by their file where it is all there is', async () => {
      create('-f', 'vdi', 'one.vdi', '1M');
      const [recorded] = await recordAt(join(root, 'one.vdi'), { format: 'vdi' });
      expect(recorded).toMatchObject({ identity: expect.stringContaining('file') as string });
      expect(recorded?.contents ?? recorded?.uncompared).toBeUndefined();
    });
  });

  it.skipIf(process.getuid?.() !== 0)('are named when a block device has another size', async () => {
    const device = execFileSync('losetup', ['--show', '-f', disk], { encoding: 'utf8' }).trim();
    try {
      const recorded = await recordAt(device);
      expect(recorded[0]).toMatchObject({
        bytes: 4096,
        mtimeNs: null,
        identity: expect.stringContaining('device'),
      });
      utimesSync(device, new Date(0), new Date(0));
      await check(recorded);
      truncateSync(disk, 8192);
      execFileSync('losetup', ['-c', device]);
      expect((await failure(check(recorded), 'refused')).message).toContain(
        'was 4096 bytes long, and is 8192',
      );
    } finally {
      execFileSync('losetup', ['-d', device]);
    }
  });
});
