// SPDX-License-Identifier: Apache-2.0
/**
 * The commands that offload and hydrate images, as they are called: what they print, their exit codes, and
 * what they leave noted.
 */
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Pace } from '../../src/queue/pace.js';
import { domainXml, smallImage, UUID } from '../support/image-builder.js';
import { type LocalFixture, localFixture } from '../support/local-store.js';
import { runPars, type Ran } from '../support/run-pars.js';

let fixture: LocalFixture;
let root: string;
let saves: string;

beforeEach(async () => {
  fixture = await localFixture();
  root = mkdtempSync(join(tmpdir(), 'pars-images-'));
  saves = join(root, 'saves');
  mkdirSync(saves);
  writeFileSync(
    join(root, 'pars.yaml'),
    `store: local:${fixture.path}\npolicy: pars\nstate_dir: ${root}/state\n`,
  );
});
afterEach(async () => {
  rmSync(root, { recursive: true, force: true });
  await fixture.dispose();
});

const pars = (...argv: string[]): Promise<Ran> => runPars(...argv, '--config', join(root, 'pars.yaml'));

function save(name: string, metadata = ''): string {
  const path = join(saves, `${name}.save`);
  writeFileSync(path, smallImage({ xml: domainXml({ name, metadata }) }).bytes);
  return path;
}

const OPT_OUT = '<pars:guest xmlns:pars="https://pars.dev/xmlns/guest/1" offload="no"/>';

describe('what stays whole', () => {
  const drain = (...more: string[]): Promise<Ran> => pars('drain', '--save-dir', saves, ...more);
  const pending = (...more: string[]): Promise<Ran> =>
    pars('offload', '--pending', '--save-dir', saves, ...more);

  it('does not keep the store from hearing of the guests that started (R25)', async () => {
    const image = save('a');
    expect(await pars('offload', '--keep-local', '--managed-save', image)).toMatchObject({ exitCode: 0 });
    rmSync(image);
    mkdirSync(join(root, 'state', 'started'), { recursive: true });
    writeFileSync(join(root, 'state', 'started', UUID), '');
    expect(await pending()).toMatchObject({ exitCode: 0 });
    expect(JSON.parse((await pars('list', '--json')).stdout)).toMatchObject({
      snapshots: [{ state: 'consumed' }],
    });
    expect(readdirSync(join(root, 'state', 'started'))).toEqual([]);
  });

  it('is nothing after a drain that offloaded all', async () => {
    save('a');
    expect(await drain()).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining('no managed save is left') as string,
    });
  });

  it('is an image of a guest that says no: for a drain not done, for the queue as it should be', async () => {
    const image = save('here', OPT_OUT);
    const drained = await drain();
    expect(drained).toMatchObject({ exitCode: 8, stdout: expect.stringContaining(image) as string });
    expect(drained.stdout).toContain('opted out');
    expect(await pending()).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining(`1 left:\n  ${image}`) as string,
    });
  });

  it('is an image that cannot be read: not done, for a drain and for the queue', async () => {
    const image = join(saves, 'damaged.save');
    writeFileSync(image, Buffer.alloc(1000));
    for (const ran of [await drain(), await pending()])
      expect(ran).toMatchObject({
        exitCode: 8,
        stdout: expect.stringContaining(`${image} (1000 B): not a libvirt save image`) as string,
      });
    const { exitCode, stdout } = await drain('--json');
    expect([exitCode, JSON.parse(stdout)]).toEqual([
      8,
      expect.objectContaining({ left: [expect.objectContaining({ image, condition: 'unreadable' })] }),
    ]);
  });

  it('cannot be told of a directory that is not there', async () => {
    rmSync(saves, { recursive: true });
    for (const ran of [await drain(), await pending()])
      expect(ran).toMatchObject({
        exitCode: 4,
        stdout: '',
        stderr: expect.stringContaining(`there is no directory ${saves}`) as string,
      });
  });
});

describe('several images in one call', () => {
  it('are one JSON document, errors among them', async () => {
    const [first, last] = [save('a'), save('c')];
    const bad = join(saves, 'b.save');
    writeFileSync(bad, Buffer.alloc(1000));
    const offloaded = await pars('offload', first, bad, last, '--json');
    expect([offloaded.exitCode, offloaded.stderr]).toEqual([5, '']);
    expect(JSON.parse(offloaded.stdout)).toEqual({
      images: [
        expect.objectContaining({ image: first, stub: true }),
        { image: bad, error: expect.objectContaining({ kind: 'corrupt' }) as object },
        expect.objectContaining({ image: last, stub: true }),
      ],
    });
    const hydrated = await pars('hydrate', first, join(saves, 'none.save'), last, '--json');
    expect(hydrated.exitCode).toBe(4);
    expect(JSON.parse(hydrated.stdout)).toEqual({
      images: [
        expect.objectContaining({ image: first, hydrated: true }),
        expect.objectContaining({ error: expect.objectContaining({ kind: 'missing' }) as object }),
        expect.objectContaining({ image: last, hydrated: true }),
      ],
    });
    expect(JSON.parse((await pars('hydrate', first, '--json')).stdout)).toMatchObject({
      image: first,
      hydrated: false,
    });
    expect(JSON.parse((await pars('offload', bad, '--json')).stdout)).toMatchObject({
      error: { kind: 'corrupt' },
    });
  });

  it('have errors that say which image they are about', async () => {
    const [good, bad] = [save('a'), join(saves, 'b.save')];
    writeFileSync(bad, Buffer.alloc(1000));
    for (const command of ['offload', 'hydrate'])
      expect(await pars(command, good, bad)).toMatchObject({
        exitCode: 5,
        stderr: expect.stringContaining(`${bad}: not a libvirt save image`) as string,
      });
  });

  it('are named by the queue too, when it cannot offload one', async () => {
    const image = save('a', '<pars:guest xmlns:pars="https://pars.dev/xmlns/guest/1" policy="leen"/>');
    expect(await pars('offload', '--pending', '--save-dir', saves)).toMatchObject({
      exitCode: 8,
      stderr: expect.stringContaining(`${image}: there is no policy "leen"`) as string,
    });
  });
});

describe('pars status', () => {
  const status = async (): Promise<{ exitCode: number; failed: unknown[]; failures: unknown[] }> => {
    const { exitCode, stdout } = await pars('status', '--save-dir', saves, '--json');
    return { exitCode, ...(JSON.parse(stdout) as { failed: unknown[]; failures: unknown[] }) };
  };

  it('does not tell of arguments that are no image', async () => {
    writeFileSync(
      join(root, 'notes'),
      'no image at all, but long enough for the header of one, which has ninety-two bytes in all its fields',
    );
    symlinkSync(save('a'), join(root, 'link'));
    for (const name of ['notes', 'link', 'saves', 'none'])
      for (const command of ['offload', 'hydrate'])
        expect((await pars(command, join(root, name))).exitCode).not.toBe(0);
    expect(await status()).toMatchObject({ exitCode: 0, failed: [], failures: [] });
  });

  it('does not tell of other mistakes in a call, and still tells of what failed before', async () => {
    const image = save('a');
    await pars('offload', image);
    const mistaken = (): Promise<Ran> => pars('hydrate', image, '--store', 'lcoal:/srv');
    expect((await mistaken()).exitCode).toBe(2);
    expect(await status()).toMatchObject({ exitCode: 0, failed: [], failures: [] });
    renameSync(fixture.root, `${fixture.root}.away`);
    expect((await pars('hydrate', image)).exitCode).toBe(6);
    renameSync(`${fixture.root}.away`, fixture.root);
    expect((await mistaken()).exitCode).toBe(2);
    expect(await status()).toMatchObject({
      exitCode: 6,
      failed: [{ image, kind: 'hydrate', error: { kind: 'unreachable' } }],
    });
  });

  it("tells of a damaged image, and of a guest's mistaken policy that the queue met", async () => {
    const [damaged, mistaken] = [
      join(root, 'damaged.save'),
      save('a', '<pars:guest xmlns:pars="https://pars.dev/xmlns/guest/1" policy="leen"/>'),
    ];
    writeFileSync(damaged, smallImage().bytes.subarray(0, 200));
    await pars('offload', damaged);
    await pars('offload', '--pending', '--save-dir', saves);
    expect((await status()).failed).toMatchObject([
      { image: mistaken, error: { kind: 'usage' } },
      { image: damaged, error: { kind: 'corrupt' } },
    ]);
  });
});

describe('an argument', () => {
  it('that is a directory is bad usage, whatever the command', async () => {
    for (const call of [
      ['offload', saves],
      ['hydrate', saves],
      ['explain', saves, '--page', '0x0'],
    ]) {
      expect(await pars(...call)).toMatchObject({
        exitCode: 2,
        stderr: expect.stringContaining(`${saves} is not a regular file`) as string,
      });
    }
  });

  it('that is a stub cannot be explained, and the hint is a call that there is', async () => {
    const image = save('a');
    const { snapshot } = JSON.parse((await pars('offload', image, '--json')).stdout) as { snapshot: string };
    const { exitCode, stderr } = await pars('explain', image, '--page', '0x0');
    expect(exitCode).toBe(3);
    expect(stderr).toContain(`${image} is a stub`);
    expect(stderr).toContain(`pars restore ${snapshot} --to FILE`);
    expect(stderr).not.toContain('--store');
  });
});

it('an offload by hand keeps within queue.bandwidth as well', async () => {
  const take = vi.spyOn(Pace.prototype, 'take');
  try {
    expect(await pars('offload', save('a'))).toMatchObject({ exitCode: 0 });
    const bytes = take.mock.calls.reduce((sum, [some]) => sum + some, 0);
    expect(bytes).toBeGreaterThan(0);
  } finally {
    take.mockRestore();
  }
});
