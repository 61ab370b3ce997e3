// SPDX-License-Identifier: Apache-2.0
/**
 * Memory files of libvirt's own snapshots: their XML as libvirt writes it, and a real save image.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lookAtFile } from '../../src/disks/look.js';
import type { DiskSource } from '../../src/libvirt/disk-sources.js';
import { memorySnapshotOf } from '../../src/libvirt/memory-snapshots.js';
import { offload } from '../../src/lifecycle/offload.js';
import type { Offloaded, OffloadOptions, OffloadPlace } from '../../src/lifecycle/offload-request.js';
import { claimWaking } from '../../src/lifecycle/claims.js';
import { disksAtRevert, proveCritical, refuseUnrevertable } from '../../src/lifecycle/memory-file.js';
import { isOrphaned } from '../../src/lifecycle/prune.js';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { native } from '../../src/native.js';
import { nodeFiles } from '../../src/stores/local/files.js';
import { findSnapshot, readManifest } from '../../src/snapshot/snapshots.js';
import { StubRegistry } from '../../src/image/stub-registry.js';
import { policyByName } from '../../src/policy/policy.js';
import { failure } from '../contract/store.js';
import { domainXml, smallImage, UUID } from '../support/image-builder.js';
import { localFixture, type LocalFixture } from '../support/local-store.js';

let fixture: LocalFixture;
let root: string;
let snapshots: string;
let memory: string;

beforeEach(async () => {
  fixture = await localFixture(nodeFiles, native());
  root = mkdtempSync(join(tmpdir(), 'pars-memory-'));
  snapshots = join(root, 'snapshot');
  mkdirSync(join(snapshots, 'web'), { recursive: true });
  mkdirSync(join(root, 'images'));
  memory = join(root, 'images', "a & b's.mem");
  writeFileSync(memory, smallImage().bytes);
});
afterEach(async () => {
  rmSync(root, { recursive: true, force: true });
  await fixture.dispose();
});

function snapshot(name: string, memoryElement: string, disks = ''): void {
  const head = '<!--\nWARNING: THIS IS AN AUTO-GENERATED FILE.\n-->\n\n';
  writeFileSync(
    join(snapshots, 'web', `${name}.xml`),
    `${head}<domainsnapshot>\n  <name>${name}</name>\n  <state>running</state>\n  ${memoryElement}\n  `
      + `<disks>\n    <disk name='vda' snapshot='external' type='file'><source file='/x'/></disk>\n  `
      + `</disks>\n  <domain type='kvm'>\n    <memory unit='KiB'>524288</memory>\n  `
      + `<devices>${disks}</devices>\n  </domain>\n</domainsnapshot>\n`,
  );
}

it('is found by the file it names, whichever way that is reached', async () => {
  snapshot('internal', "<memory snapshot='internal'/>");
  snapshot('disk-only', "<memory snapshot='no'/>");
  writeFileSync(join(snapshots, 'web', 'broken.xml'), '<domainsnapshot><memory');
  writeFileSync(join(snapshots, 'web', 'another.xml'), '<domain><memory/></domain>');
  expect(await memorySnapshotOf(memory, snapshots)).toBeNull();
  snapshot(
    'before update',
    `<memory snapshot='external' file='${memory.replace('&', '&amp;').replace("'", '&apos;')}'/>`,
  );
  expect(await memorySnapshotOf(memory, snapshots)).toEqual({
    domain: 'web',
    name: 'before update',
    disks: [],
  });
  symlinkSync(join(root, 'images'), join(root, 'other'));
  expect(await memorySnapshotOf(join(root, 'other', "a & b's.mem"), snapshots)).toMatchObject({
    name: 'before update',
  });
  expect(await memorySnapshotOf(memory, join(root, 'none'))).toBeNull();
});

function place(): OffloadPlace {
  return {
    store: fixture.store,
    host: { machineId: 'a'.repeat(32), host: 'h' },
    registry: new StubRegistry(join(root, 'state')),
    libvirtSnapshots: snapshots,
  };
}

function run(change: Partial<OffloadOptions> = {}): Promise<Offloaded> {
  return offload(memory, place(), {
    policy: policyByName('pars'),
    policyIsFixed: true,
    keepLocal: false,
    force: false,
    managedSave: false,
    leaseWaitMs: 0,
    level: 1,
    ...change,
  });
}

const external = (): string =>
  `<memory snapshot='external' file='${memory.replace('&', '&amp;').replace("'", '&apos;')}'/>`;

it('becomes a stub that says whose memory it is, with the disks of the snapshot (R26)', async () => {
  const disk =
    "<devices><disk type='file' device='disk'><source file='/x'/><target dev='vda'/></disk></devices>"
    + '</domain>';
  writeFileSync(memory, smallImage({ xml: domainXml().replace('</domain>', disk) }).bytes);
  writeFileSync(join(root, 'base.raw'), 'disk');
  snapshot(
    's1',
    external(),
    `<disk type='file'><driver type='raw'/><source file='${join(root, 'base.raw')}'/>`
      + `<target dev='vda'/></disk>`,
  );
  const { snapshot: stored } = await run();
  const { image, disks } = await readManifest(fixture.store, stored);
  expect(image.memoryOf).toBe('s1');
  expect(disks).toMatchObject([{ target: 'vda', source: join(root, 'base.raw'), bytes: 4 }]);
  expect(await place().registry.all()).toMatchObject([{ memoryOf: 's1', managedSave: false }]);
}, 60_000);

it('becomes a stub although its guest was started meanwhile (R25)', async () => {
  snapshot('s1', external());
  const started = join(root, 'state/started');
  mkdirSync(started, { recursive: true });
  const onStep = (step: string): void => {
    if (step === 'packed') writeFileSync(join(started, UUID), '');
  };
  expect(await run({ onStep })).toMatchObject({ stub: true });
}, 60_000);

it('stays whole when libvirt calls it the memory of a snapshot only after its offload began', async () => {
  const before = readFileSync(memory);
  const onStep = (step: string): void => {
    if (step === 'packed') snapshot('s1', external());
  };
  const error = await failure(run({ onStep }), 'busy');
  expect(error.message).toContain('has become the memory');
  expect(readFileSync(memory).equals(before)).toBe(true);
  expect(await fixture.store.list('')).toEqual([]);
  expect(await run()).toMatchObject({ stub: true });
}, 60_000);

it('stays whole when a copy of something critical is not seen in the store any more', async () => {
  snapshot('s1', external());
  const before = readFileSync(memory);
  const onStep = (step: string): void => {
    if (step !== 'committed') return;
    const gone = execFileSync('find', [fixture.directories[1] ?? '', '-name', 'skeleton.0'], {
      encoding: 'utf8',
    });
    rmSync(gone.trim());
  };
  const error = await failure(run({ onStep }), 'unreachable');
  expect(error.message).toContain('skeleton.0 (2 of 3 copies)');
  expect(readFileSync(memory).equals(before)).toBe(true);
}, 60_000);

it('is proved by what it is made of: a claim may have been noted while a disk was away', async () => {
  snapshot('s1', external());
  const manifest = await readManifest(fixture.store, (await run()).snapshot);
  await claimWaking(fixture.store, manifest, place().host);
  rmSync(join(fixture.directories[1] ?? '', manifest.snapshot, 'state-waking'));
  await proveCritical(fixture.store, manifest);
}, 60_000);

it('is refused compressed, since its decompressor has read ahead before any hook is called', async () => {
  const found = { domain: 'web', name: 's1', disks: [] };
  const error = await failure(refuseUnrevertable(memory, 'zstd', { dev: 0n, ino: 0n }, found), 'refused');
  expect(error.message).toContain("libvirt's snapshot s1 of web, compressed as zstd");
});

it('is refused while libvirt has it open for writing, as it has a sparse one', async () => {
  snapshot('s1', external());
  copyFileSync('/bin/sleep', join(root, 'libvirtd'));
  const fd = openSync(memory, 'r+');
  const daemon = spawn(join(root, 'libvirtd'), ['1000'], { stdio: ['ignore', 'ignore', 'ignore', fd] });
  try {
    await once(daemon, 'spawn');
    closeSync(fd);
    const error = await failure(run(), 'refused');
    expect(error.message).toContain(`libvirtd (${daemon.pid}) still has it open for writing`);
    expect(await fixture.store.list('')).toEqual([]);
  } finally {
    daemon.kill('SIGKILL');
    await once(daemon, 'exit');
  }
  expect(await run()).toMatchObject({ stub: true });
}, 60_000);

describe('the disks of a revert', () => {
  /** A qcow2 image of a MiB, over another. */
  function image(name: string, below?: string): void {
    const backing = below === undefined ? [] : ['-b', join(root, below), '-F', 'qcow2'];
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...backing, join(root, name), '1M']);
  }

  function fileNow(name: string): Omit<Manifest['disks'][number], 'target' | 'readOnly' | 'below'> {
    const { dev, ino, size, mtimeNs } = statSync(join(root, name), { bigint: true });
    const identity = `file ${dev}:${ino}`;
    return { source: join(root, name), bytes: Number(size), mtimeNs: String(mtimeNs), identity };
  }

  /** vda as it is now, with what it stands on. */
  function record(name: string, ...below: string[]): Manifest['disks'] {
    return [{ target: 'vda', readOnly: false, ...fileNow(name), below: below.map(fileNow) }];
  }

  const now = (name: string): DiskSource[] => [
    { target: 'vda', source: join(root, name), format: 'qcow2', blockDevice: false },
  ];

  /**
   * As libvirt deletes the snapshot that made `name`: into what is below it, and what is above stands on
   * that.
   */
  function merge(name: string, into: string, above?: string): void {
    execFileSync('qemu-img', ['commit', '-q', '-d', join(root, name)]);
    rmSync(join(root, name));
    const rebase = ['rebase', '-q', '-u', '-b', join(root, into), '-F', 'qcow2'];
    if (above !== undefined) execFileSync('qemu-img', [...rebase, join(root, above)]);
    utimesSync(join(root, into), 1, 1);
  }

  beforeEach(() => {
    image('base');
    image('s1', 'base');
    image('s2', 's1');
    image('s3', 's2');
  });

  it('must be what they were while they read through the same files', async () => {
    const recorded = record('s3', 's2', 's1', 'base');
    expect(await disksAtRevert(recorded, now('s3'))).toEqual(recorded);
    rmSync(join(root, 's3'));
    expect(await disksAtRevert(recorded, now('s3')), 'to be missed where all is compared').toEqual(recorded);
  });

  it('may be what they stood on when they were merged into that', async () => {
    const recorded = record('s3', 's2', 's1', 'base');
    merge('s3', 's2');
    expect(await disksAtRevert(recorded, now('s2'))).toEqual([]);
  });

  it('may have lost a file below, with what that touches, and nothing else may have changed', async () => {
    const recorded = record('s3', 's2', 's1', 'base');
    merge('s2', 's1', 's3');
    expect(await disksAtRevert(recorded, now('s3'))).toEqual([]);
    utimesSync(join(root, 'base'), 2, 2);
    const error = await failure(disksAtRevert(recorded, now('s3')), 'refused');
    expect(error.message).toContain(`${join(root, 'base')}, below vda, has changed`);
  });

  it.skipIf(process.getuid?.() !== 0)('may stand on a device, into which a file may be merged', async () => {
    writeFileSync(join(root, 'device.img'), Buffer.alloc(1 << 20));
    const losetup = (...args: string[]): string => execFileSync('losetup', args, { encoding: 'utf8' }).trim();
    const device = losetup('--show', '-f', join(root, 'device.img'));
    try {
      const over = (name: string, below: string, format: string): void =>
        void execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', below, '-F', format, name], {
          cwd: root,
        });
      over('d1', device, 'raw');
      over('d2', 'd1', 'qcow2');
      const base = (await lookAtFile(device))!;
      const below = { source: device, bytes: base.bytes, mtimeNs: base.mtimeNs, identity: base.identity };
      const [top] = record('d2', 'd1');
      const recorded = [{ ...top!, below: [...top!.below!, below] }];
      execFileSync('qemu-img', ['rebase', '-q', '-u', '-b', device, '-F', 'raw', join(root, 'd2')]);
      rmSync(join(root, 'd1'));
      expect(await disksAtRevert(recorded, now('d2')), 'd1 was merged').toEqual([]);
      rmSync(join(root, 'd2'));
      const onDevice = [{ target: 'vda', source: device, format: 'raw', blockDevice: true }];
      expect(await disksAtRevert(recorded, onDevice), 'and d2').toEqual([]);
      truncateSync(join(root, 'device.img'), 2 << 20);
      losetup('-c', device);
      const error = await failure(disksAtRevert(recorded, onDevice), 'refused');
      expect(error.message).toContain(`${device}, below vda, has changed`);
    } finally {
      losetup('-d', device);
    }
  });

  it('may not be other files of the same names', async () => {
    const recorded = record('s3', 's2', 's1', 'base');
    merge('s2', 's1', 's3');
    copyFileSync(join(root, 's3'), join(root, 'copy'));
    renameSync(join(root, 'copy'), join(root, 's3'));
    await failure(disksAtRevert(recorded, now('s3')), 'refused');
  });

  it('may not be anything else, nor what they stood on while they are still there', async () => {
    const recorded = record('s3', 's2', 's1', 'base');
    image('other');
    await failure(disksAtRevert(recorded, now('other')), 'refused');
    await failure(disksAtRevert(recorded, now('s2')), 'refused');
  });
});

it('is an orphan in the store when libvirt has deleted the snapshot and with it the file (R28)', async () => {
  snapshot('s1', external());
  const { snapshot: stored } = await run();
  const host = place().host;
  const orphaned = async (): Promise<boolean> =>
    isOrphaned(await findSnapshot(fixture.store, stored), host, place());
  expect(await orphaned()).toBe(false);
  rmSync(memory);
  expect(await orphaned(), 'libvirt still has the snapshot').toBe(false);
  rmSync(join(snapshots, 'web/s1.xml'));
  expect(await orphaned()).toBe(true);
  rmSync(snapshots, { recursive: true });
  expect(await orphaned(), 'nobody can tell without the directory').toBe(false);
}, 60_000);
