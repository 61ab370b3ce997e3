// SPDX-License-Identifier: Apache-2.0
/** A guest that is defined with its memory on a host that has never seen it: what libvirt is told. */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { restoreDefined } from '../../src/lifecycle/restore-defined.js';
import type { Restored } from '../../src/lifecycle/restore.js';
import { domainXml, smallImage } from '../support/image-builder.js';
import { type ImageFixture, imageFixture } from '../support/image-fixture.js';

const HOST = { machineId: 'b'.repeat(32), host: 'other' };
const original = smallImage().bytes;

let fixture: ImageFixture;
let snapshot: string;
let libvirt: string;

/** A virsh that knows no guest, and keeps what it is told to define. */
function useVirsh(define = `cp "$file" ${libvirt}/defined.xml`): void {
  const path = join(libvirt, 'virsh');
  writeFileSync(
    path,
    `#!/bin/sh
shift 3
command=$1
while [ $# -gt 0 ]; do [ "$1" != --file ] || file=$2; shift; done
case $command in
domstate) echo "error: failed to get domain" >&2; exit 1 ;;
save-image-dumpxml) cat ${libvirt}/saved.xml ;;
define) ${define} ;;
esac
`,
  );
  chmodSync(path, 0o755);
}

beforeEach(async () => {
  fixture = await imageFixture();
  writeFileSync(fixture.image, original);
  ({ snapshot } = await fixture.offload());
  libvirt = join(fixture.root, 'libvirt');
  mkdirSync(libvirt);
  writeFileSync(join(libvirt, 'saved.xml'), domainXml());
  vi.stubEnv('PATH', `${libvirt}:${process.env['PATH']}`);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await fixture.dispose();
});

const savedImage = (): string => join(fixture.root, 'there', 'guest.save');

function restoreHere(force = false): Promise<Restored> {
  const { store, registry } = fixture;
  const place = { store, registry, host: HOST, saveDir: join(fixture.root, 'there') };
  return restoreDefined(place, snapshot, {
    force,
    moved: new Map(),
    acceptChangedDisks: false,
    acceptUncomparedDisks: false,
  });
}

it('its XML is defined, and its image and the note of it are there', async () => {
  useVirsh();
  const { image } = await restoreHere();
  expect(readFileSync(image).equals(original)).toBe(true);
  expect(readFileSync(join(libvirt, 'defined.xml'), 'utf8')).toBe(domainXml());
  expect((await fixture.registry.all()).map((stub) => stub.image)).toContain(image);
});

it('neither image nor note stays when libvirt refuses the definition', async () => {
  useVirsh('echo "error: no" >&2; exit 1');
  await expect(restoreHere()).rejects.toMatchObject({ kind: 'refused' });
  expect(existsSync(savedImage())).toBe(false);
  expect((await fixture.registry.all()).map((stub) => stub.image)).not.toContain(savedImage());
});

it.each([false, true])('no save that is there is written over (forced: %s)', async (force) => {
  useVirsh();
  mkdirSync(dirname(savedImage()));
  writeFileSync(savedImage(), 'the memory of a guest that was undefined');
  await expect(restoreHere(force)).rejects.toMatchObject({ kind: 'refused' });
  expect(readFileSync(savedImage(), 'utf8')).toBe('the memory of a guest that was undefined');
  expect(await fixture.store.list(snapshot)).toEqual(expect.not.arrayContaining(['state-waking']));
});
