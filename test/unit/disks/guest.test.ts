// SPDX-License-Identifier: Apache-2.0
/**
 * What becomes of a guest with disks that nobody can compare (R26), and of disks that move to another host.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { open } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { disksInXml } from '../../../src/disks/disks-in-xml.js';
import { foreseeUncompared } from '../../../src/disks/foresee.js';
import { devicesAmong, refuseMoves } from '../../../src/disks/moves.js';
import { type RecordedDisk, recordDisks } from '../../../src/disks/record.js';
import { moveDisks } from '../../../src/libvirt/domain-xml.js';
import { policyByName } from '../../../src/policy/policy.js';
import { probeImage } from '../../../src/reader/reader.js';
import { lookInside } from '../../../src/report/image-report.js';
import { reportOn } from '../../../src/report/report.js';
import { readManifest } from '../../../src/snapshot/snapshots.js';
import { failure } from '../../contract/store.js';
import { domainXml, smallImage } from '../../support/image-builder.js';
import { imageFixture, type ImageFixture } from '../../support/image-fixture.js';

const DISKS = `<devices>
  <disk type='file' device='disk'><driver type='qcow2'/><source file='/srv/a &amp; b'/>
    <target dev='vda'/></disk>
  <disk type='file'><driver type='qcow2'/><source file='/top'/>
    <backingStore type='block'><format type='qcow2'/><source dev='/dev/sdc'/>
      <backingStore type='nvme'><format type='raw'/><source type='pci'/>
        <backingStore/></backingStore></backingStore><target dev='vde'/></disk>
  <disk type='block' device='lun'><source dev='/dev/sdb'/><target dev='sda'/><readonly/></disk>
  <disk type='volume'><source pool='p' volume='v'/><target dev='vdb'/></disk>
  <disk type='network'><driver type='raw'/><auth username='u'><secret type='ceph' usage='x'/></auth>
    <source protocol='rbd' name='pool/image' query='q' tls='no'>
      <host name='m1' port='6789'/><host transport='unix' socket='/s'/>
      <snapshot name='then'/><config file='/c'/>
    </source><target dev='vdc'/></disk>
  <disk type='vhostuser'><source type='unix' path='/v'/><target dev='vdd'/></disk>
  <disk type='file' device='cdrom'><target dev='sdb'/><readonly/></disk>
</devices></domain>`;
const NBD = `<devices><disk type='network'><source protocol='nbd' name='x' tls='yes'><host name='h'/></source>
  <target dev='vda'/></disk></devices></domain>`;

const xmlWith = (devices: string, metadata = ''): string =>
  domainXml({ metadata }).replace('</domain>', devices);

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pars-guest-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

it('the XML of libvirt and that in an image are read alike', async () => {
  const path = join(root, 'g.save');
  writeFileSync(path, smallImage({ xml: xmlWith(DISKS) }).bytes);
  const image = await open(path);
  const { domain } = await probeImage(image.fd).finally(() => image.close());
  expect(disksInXml(xmlWith(DISKS))).toEqual(domain.disks);
  expect(domain.disks.map(({ type, device }) => `${type} ${device}`)).toEqual([
    'file disk',
    'file disk',
    'block lun',
    'volume disk',
    'network disk',
    'vhostuser disk',
    'file cdrom',
  ]);
  expect(domain.disks[1]?.backing).toEqual([
    { source: '/dev/sdc', format: 'qcow2' },
    { source: '', format: 'raw' },
  ]);
  expect(domain.disks[4]?.network).toMatchObject({
    user: 'u',
    secret: true,
    hosts: [{ name: 'm1' }, { socket: '/s' }],
  });
});

it.each([
  ['-drive', 'file=/a.raw,if=none,id=x', true],
  ['-drive', 'file=/vars.fd,if=pflash,unit=1', false],
  ['--blockdev', 'driver=file,filename=/a.raw,node-name=x', true],
  ['-hdb', '/a.raw', true],
  ['-device', 'vhost-user-blk-pci,chardev=x', true],
  ['-device', 'virtio-rng-pci', false],
  ['-name', 'sd', false],
])('a disk that the XML hands to QEMU by itself is one that nobody can compare: %s %s', async (...given) => {
  const [option, value, isDisk] = given;
  const line =
    `<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>`
    + `<qemu:env name='A' value='b'/><qemu:arg value='${option}'/><qemu:arg value='${value}'/>`
    + '</qemu:commandline></domain>';
  const path = join(root, 'g.save');
  writeFileSync(path, smallImage({ xml: xmlWith(line) }).bytes);
  const image = await open(path);
  const { domain } = await probeImage(image.fd).finally(() => image.close());
  expect(disksInXml(xmlWith(line))).toEqual(domain.disks);
  const recorded = await recordDisks(domain.disks, { askLibvirt: false });
  expect(recorded.map(({ uncompared }) => uncompared !== undefined)).toEqual(isDisk ? [true] : []);
});

it('what cannot be compared is foreseen while the guest runs', async () => {
  const options = { askLibvirt: false, poolDirectories: [root] };
  const found = await foreseeUncompared(disksInXml(xmlWith(DISKS)), options);
  expect(found.map((text) => text.slice(0, 3))).toEqual(['vda', 'vde', 'sda', 'vdb', 'vdd']);
  expect(await foreseeUncompared(disksInXml(xmlWith(NBD)), options)).toEqual([
    expect.stringContaining('TLS'),
  ]);
});

describe('a guest with a disk that nobody can compare', () => {
  let fixture: ImageFixture;

  beforeEach(async () => {
    fixture = await imageFixture();
    writeFileSync(fixture.image, smallImage({ xml: xmlWith(NBD) }).bytes);
  });
  afterEach(() => fixture.dispose());

  it('keeps its clean cache whatever the policy, and says so at once and later', async () => {
    const facts = await lookInside(fixture.image);
    const report = reportOn(facts, policyByName('minimal'));
    expect(report.uncomparedDisks).toEqual([expect.stringContaining('vda (nbd://h/x) cannot be compared')]);
    const done = await fixture.offload({ policy: policyByName('minimal') });
    expect(done.uncomparedDisks).toEqual(report.uncomparedDisks);
    const { policy, disks } = await readManifest(fixture.store, done.snapshot);
    expect(policy.copies).toMatchObject({ 'clean-cache': 1, free: 0 });
    expect(disks).toMatchObject([{ type: 'network', uncompared: expect.stringContaining('TLS') as string }]);
    expect(await fixture.registry.all()).toMatchObject([{ uncomparedDisks: report.uncomparedDisks }]);
  });

  it('is refused at a start, and is still a stub', async () => {
    await fixture.offload();
    const error = await failure(fixture.hydrate(), 'refused');
    expect(error.message).toContain('nobody can tell whether');
    expect(error.hint).toContain('accept-uncompared-disks');
    await failure(fixture.hydrate(), 'refused');
  });

  it('starts when its metadata accepts that', async () => {
    const metadata = "<p:guest xmlns:p='https://pars.dev/xmlns/guest/1' accept-uncompared-disks='yes'/>";
    writeFileSync(fixture.image, smallImage({ xml: xmlWith(NBD, metadata) }).bytes);
    await fixture.offload();
    expect(await fixture.hydrate()).toMatchObject({ hydrated: true });
  });
});

describe('disks that are elsewhere on another host', () => {
  const moved = (...targets: string[]): Map<string, string> =>
    new Map(targets.map((name) => [name, `/new/${name}`]));

  it('become files or devices, whatever they were', () => {
    const xml = moveDisks(xmlWith(DISKS), moved('vda', 'sda', 'vdb', 'vdc', 'sdb'), new Set(['vdb']));
    expect(disksInXml(xml).map(({ type, source, network }) => [type, source, network])).toEqual([
      ['file', '/new/vda', null],
      ['file', '/top', null],
      ['file', '/new/sda', null],
      ['block', '/new/vdb', null],
      ['file', '/new/vdc', null],
      ['vhostuser', '', null],
      ['file', '/new/sdb', null],
    ]);
    expect(xml).not.toMatch(/protocol|pool=|<auth|<host|snapshot/);
  });

  it('are refused before anything is done when there is no such disk, or it can be no file', () => {
    const nothing = { source: '', bytes: null, mtimeNs: null, identity: null, readOnly: false };
    const disks: RecordedDisk[] = [
      { ...nothing, target: 'vda' },
      { ...nothing, target: 'vdb', type: 'vhostuser' },
    ];
    refuseMoves(disks, moved('vda'));
    expect(() => refuseMoves(disks, moved('vdx'))).toThrow('the guest has no disk vdx');
    expect(() => refuseMoves(disks, moved('vdb'))).toThrow('vdb is a disk of type vhostuser');
  });

  it('must be there, and be something that holds a disk', async () => {
    mkdirSync(join(root, 'directory'));
    await failure(devicesAmong(new Map([['vda', join(root, 'none')]])), 'refused');
    await failure(devicesAmong(new Map([['vda', join(root, 'directory')]])), 'refused');
    writeFileSync(join(root, 'file'), 'x');
    expect(await devicesAmong(new Map([['vda', join(root, 'file')]]))).toEqual(new Set());
  });
});
