// SPDX-License-Identifier: Apache-2.0
/** What `pars status` knows of starts that were refused, and of stubs that vanished without one (R30). */
import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { forgetLost } from '../../src/image/lost-stubs.js';
import { StubRegistry } from '../../src/image/stub-registry.js';
import type { HostStatus } from '../../src/status/host-status.js';
import { encodeStub } from '../../src/image/stub.js';
import { smallImage, UUID } from '../support/image-builder.js';
import { runPars } from '../support/run-pars.js';

const TOKEN = '1'.repeat(32);
const SNAPSHOT = `${UUID}/20261130T010203Z-01234567`;

let root: string;
let image: string;
let registry: StubRegistry;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'pars-refused-'));
  for (const name of ['saves', 'state', 'state/refused', 'state/started', 'state/stubs'])
    mkdirSync(join(root, name));
  image = join(root, 'saves', 'g.save');
  writeFileSync(join(root, 'pars.yaml'), `store: local:${root}/d1\nstate_dir: ${root}/state\n`);
  registry = new StubRegistry(join(root, 'state'));
  await registry.add({ image, snapshot: SNAPSHOT, token: TOKEN, domainUuid: UUID, managedSave: true });
});
afterEach(() => rmSync(root, { recursive: true }));

function writeStub(): void {
  const { bytes, headEnd } = smallImage();
  bytes.fill(0, headEnd);
  const record = { token: TOKEN, domainUuid: UUID, imageBytes: bytes.length, offset: headEnd };
  encodeStub({ ...record, headDigest: '2'.repeat(64), snapshot: SNAPSHOT, storeUrl: 'u' }).copy(
    bytes,
    headEnd,
  );
  writeFileSync(image, bytes);
}

/** As the hook leaves it. */
function refuse(text = '6\npars: the store is away\n  bring it back\n', uuid = UUID): string {
  const path = join(root, 'state/refused', `${uuid}.said`);
  writeFileSync(path, text);
  return path;
}

async function status(): Promise<{ code: number; text: string; json: HostStatus }> {
  const words = ['status', '--config', join(root, 'pars.yaml'), '--save-dir', join(root, 'saves')];
  const { exitCode, stdout } = await runPars(...words);
  const json = JSON.parse((await runPars(...words, '--json')).stdout) as HostStatus;
  return { code: exitCode, text: stdout, json };
}

describe('a start that was refused', () => {
  it('is shown with what was said, and its code is the exit code', async () => {
    writeStub();
    refuse();
    const { code, text, json } = await status();
    expect(code).toBe(6);
    expect(text).toMatch(/Refused starts:\n {2}\S+ guest \S+: the store is away\n {4}bring it back/);
    expect(json.refused).toMatchObject([{ domainUuid: UUID, exitCode: 6 }]);
  });

  it('of a program that could not be run is a failure of this host', async () => {
    writeStub();
    refuse('127\n/etc/libvirt/hooks/qemu: /nowhere/node: not found\n');
    expect(await status()).toMatchObject({ code: 1, text: expect.stringContaining('not found') as string });
  });

  it('is beside the point once the image is whole again, and of an unknown guest after a day', async () => {
    writeFileSync(image, smallImage().bytes);
    refuse();
    const other = refuse('6\npars: away\n', `99999999${UUID.slice(8)}`);
    expect((await status()).json.refused).toMatchObject([{ domainUuid: `99999999${UUID.slice(8)}` }]);
    const then = new Date(Date.now() - 2 * 86_400_000);
    utimesSync(other, then, then);
    expect((await status()).json.refused).toEqual([]);
  });
});

describe('a stub that is gone', () => {
  it('without a start is lost: it is said how to put it back, and the exit code is not 0', async () => {
    const { code, text, json } = await status();
    expect(code).toBe(4);
    expect(text).toContain(`pars restore ${SNAPSHOT} --as-managed-save`);
    expect(json.lost).toMatchObject([{ snapshot: SNAPSHOT }]);
  });

  it('is not lost while it is there, when its guest was started, or with its directory away', async () => {
    writeStub();
    expect((await status()).code).toBe(0);
    rmSync(image);
    writeFileSync(join(root, 'state/started', UUID), '');
    expect((await status()).code).toBe(0);
    rmSync(join(root, 'state/started', UUID));
    rmSync(join(root, 'saves'), { recursive: true });
    expect((await status()).json.lost).toEqual([]);
  });

  it('of "virsh save" may have been moved: nobody misses it', async () => {
    await registry.add({ image, snapshot: SNAPSHOT, token: TOKEN, domainUuid: UUID, managedSave: false });
    expect((await status()).code).toBe(0);
  });

  it('is forgotten with its snapshot, unless it is there all the same', async () => {
    writeStub();
    await forgetLost(registry, SNAPSHOT);
    expect(await registry.all()).toHaveLength(1);
    rmSync(image);
    await forgetLost(registry, `${SNAPSHOT}0`);
    expect(await registry.all()).toHaveLength(1);
    await forgetLost(registry, SNAPSHOT);
    expect(await registry.all()).toEqual([]);
    expect(existsSync(image)).toBe(false);
  });
});
