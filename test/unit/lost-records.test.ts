// SPDX-License-Identifier: Apache-2.0
/**
 * A start that shows no image to refill is refused while the guest has a stub here, not because it once had
 * one.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/errors.js';
import { smallImage } from '../support/image-builder.js';
import { type LocalFixture, localFixture } from '../support/local-store.js';
import { type Ran, runPars } from '../support/run-pars.js';

let fixture: LocalFixture;
let root: string;
let image: string;
let uuid: string;

beforeEach(async () => {
  fixture = await localFixture();
  root = mkdtempSync(join(tmpdir(), 'pars-lost-records-'));
  mkdirSync(join(root, 'saves'));
  image = join(root, 'saves', 'g.save');
  writeFileSync(join(root, 'pars.yaml'), `store: local:${fixture.path}\nstate_dir: ${root}/state\n`);
  writeFileSync(image, smallImage().bytes);
  const offloaded = await pars('offload', image, '--json');
  expect(offloaded.exitCode).toBe(0);
  uuid = (JSON.parse(offloaded.stdout) as { domainUuid: string }).domainUuid;
});
afterEach(async () => {
  rmSync(root, { recursive: true, force: true });
  await fixture.dispose();
});

const pars = (...argv: string[]): Promise<Ran> => runPars(...argv, '--config', join(root, 'pars.yaml'));
/** As libvirt resumes a guest from a block device: nothing that it has open is an image file. */
const start = (): Promise<Ran> =>
  runPars('hook-restore', '--config', join(root, 'pars.yaml'), '--', uuid, String(process.pid));

describe('a start from what Pars cannot see', () => {
  it('is refused while a stub of the guest is here', async () => {
    expect((await start()).exitCode).toBe(EXIT_CODES.refused);
  });

  it('goes on once that stub is gone, though the record of it is left', async () => {
    rmSync(image);
    expect(await start()).toMatchObject({ exitCode: 0, stderr: '' });
  });
});
