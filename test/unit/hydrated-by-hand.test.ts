// SPDX-License-Identifier: Apache-2.0
/**
 * A stub that was hydrated by hand stays whole until its guest is saved again: whoever did that wants to get
 * out.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { smallImage } from '../support/image-builder.js';
import { type LocalFixture, localFixture } from '../support/local-store.js';
import { type Ran, runPars } from '../support/run-pars.js';

const BUSY = 8;

let fixture: LocalFixture;
let root: string;
let image: string;

beforeEach(async () => {
  fixture = await localFixture();
  root = mkdtempSync(join(tmpdir(), 'pars-by-hand-'));
  mkdirSync(join(root, 'saves'));
  image = join(root, 'saves', 'g.save');
  writeFileSync(join(root, 'pars.yaml'), `store: local:${fixture.path}\nstate_dir: ${root}/state\n`);
  save();
  expect((await pars('offload', image)).exitCode).toBe(0);
  expect((await pars('hydrate', image)).exitCode).toBe(0);
});
afterEach(async () => {
  rmSync(root, { recursive: true, force: true });
  await fixture.dispose();
});

function save(): void {
  writeFileSync(image, smallImage().bytes);
}

const pars = (...argv: string[]): Promise<Ran> => runPars(...argv, '--config', join(root, 'pars.yaml'));
const onSaves = (...argv: string[]): Promise<Ran> => pars(...argv, '--save-dir', join(root, 'saves'));
const parsed = ({ stdout }: Ran): unknown => JSON.parse(stdout);

describe('an image that was hydrated by hand', () => {
  it('is left alone by the queue, and nothing is wrong then', async () => {
    const ran = await onSaves('offload', '--pending', '--json');
    expect(ran.exitCode).toBe(0);
    expect(parsed(ran)).toMatchObject({ offloaded: [], left: [{ image, condition: 'held' }] });
    const status = await onSaves('status', '--json');
    expect(status.exitCode).toBe(0);
    expect(parsed(status)).toMatchObject({ due: [], held: [{ image }] });
    expect((await onSaves('status')).stdout).toContain('hydrated by hand');
  });

  it('is named by a drain as what stays on this disk only', async () => {
    expect(await onSaves('drain')).toMatchObject({
      exitCode: BUSY,
      stdout: expect.stringContaining(image) as string,
    });
  });

  it('is offloaded when it is named', async () => {
    expect(parsed(await pars('offload', image, '--json'))).toMatchObject({ stub: true });
  });

  it('is taken by the queue once its guest was saved again', async () => {
    save();
    expect(parsed(await onSaves('offload', '--pending', '--json'))).toMatchObject({
      offloaded: [image],
      left: [],
    });
  });
});
