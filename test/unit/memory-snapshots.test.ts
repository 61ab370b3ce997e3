// SPDX-License-Identifier: Apache-2.0
/**
 * Memory files of libvirt's own snapshots stay whole: their XML as libvirt writes it, and a real save image.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { memorySnapshotOf } from '../../src/libvirt/memory-snapshots.js';
import { offload } from '../../src/lifecycle/offload.js';
import type { Offloaded } from '../../src/lifecycle/offload-request.js';
import { StubRegistry } from '../../src/image/stub-registry.js';
import { policyByName } from '../../src/policy/policy.js';
import { failure } from '../contract/store.js';
import { smallImage } from '../support/image-builder.js';
import { localFixture, type LocalFixture } from '../support/local-store.js';

let fixture: LocalFixture;
let root: string;
let snapshots: string;
let memory: string;

beforeEach(async () => {
  fixture = await localFixture();
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

function snapshot(name: string, memoryElement: string): void {
  const head = '<!--\nWARNING: THIS IS AN AUTO-GENERATED FILE.\n-->\n\n';
  writeFileSync(
    join(snapshots, 'web', `${name}.xml`),
    `${head}<domainsnapshot>\n  <name>${name}</name>\n  <state>running</state>\n  ${memoryElement}\n  `
      + `<disks>\n    <disk name='vda' snapshot='external' type='file'><source file='/x'/></disk>\n  `
      + `</disks>\n  <domain type='kvm'>\n    <memory unit='KiB'>524288</memory>\n  `
      + `</domain>\n</domainsnapshot>\n`,
  );
}

it('is found by the file it names, whichever way that is reached', async () => {
  snapshot('internal', "<memory snapshot='internal'/>");
  snapshot('disk-only', "<memory snapshot='no'/>");
  writeFileSync(join(snapshots, 'web', 'broken.xml'), '<domainsnapshot><memory');
  expect(await memorySnapshotOf(memory, snapshots)).toBeNull();
  snapshot(
    'before update',
    `<memory snapshot='external' file='${memory.replace('&', '&amp;').replace("'", '&apos;')}'/>`,
  );
  expect(await memorySnapshotOf(memory, snapshots)).toEqual({ domain: 'web', name: 'before update' });
  symlinkSync(join(root, 'images'), join(root, 'other'));
  expect(await memorySnapshotOf(join(root, 'other', "a & b's.mem"), snapshots)).toMatchObject({
    name: 'before update',
  });
  expect(await memorySnapshotOf(memory, join(root, 'none'))).toBeNull();
});

it('is refused by an offload, unless a copy is stored or somebody insists', async () => {
  snapshot(
    's1',
    `<memory snapshot='external' file='${memory.replace('&', '&amp;').replace("'", '&apos;')}'/>`,
  );
  const place = {
    store: fixture.store,
    host: { machineId: 'a'.repeat(32), host: 'h' },
    registry: new StubRegistry(join(root, 'state')),
    libvirtSnapshots: snapshots,
  };
  const run = (keepLocal: boolean, force: boolean): Promise<Offloaded> =>
    offload(memory, place, {
      policy: policyByName('pars'),
      policyIsFixed: true,
      keepLocal,
      force,
      managedSave: false,
      leaseWaitMs: 0,
      level: 1,
    });
  const before = readFileSync(memory);
  const error = await failure(run(false, false), 'refused');
  expect(error.message).toContain("libvirt's snapshot s1 of web");
  expect(await fixture.store.list('')).toEqual([]);
  expect(readFileSync(memory).equals(before)).toBe(true);
  expect(await run(true, false)).toMatchObject({ stub: false });
  expect(await run(false, true)).toMatchObject({ stub: true });
}, 60_000);
