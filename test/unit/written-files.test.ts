// SPDX-License-Identifier: Apache-2.0
/** Options that name a file to be written never cost one that is there. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { smallImage } from '../support/image-builder.js';
import { type LocalFixture, localFixture } from '../support/local-store.js';
import { type Ran, runPars } from '../support/run-pars.js';

const REFUSED = 3;

let fixture: LocalFixture;
let root: string;
let image: string;
let page: string;

beforeEach(async () => {
  fixture = await localFixture();
  root = mkdtempSync(join(tmpdir(), 'pars-written-'));
  mkdirSync(join(root, 'saves'));
  image = join(root, 'saves', 'g.save');
  page = join(root, 'page.html');
  writeFileSync(image, smallImage().bytes);
  configure('');
});
afterEach(async () => {
  rmSync(root, { recursive: true, force: true });
  await fixture.dispose();
});

function configure(more: string): void {
  writeFileSync(join(root, 'pars.yaml'), `store: local:${fixture.path}\nstate_dir: ${root}/state\n${more}`);
}

const pars = (...argv: string[]): Promise<Ran> => runPars(...argv, '--config', join(root, 'pars.yaml'));
const report = (to: string, ...more: string[]): Promise<Ran> => pars('report', image, '--html', to, ...more);

async function expectKept(path: string, work: () => Promise<Ran>, says: string): Promise<void> {
  const before = readFileSync(path);
  const { exitCode, stderr } = await work();
  expect({ exitCode, kept: readFileSync(path).equals(before) }).toEqual({ exitCode: REFUSED, kept: true });
  expect(stderr).toContain(says);
}

describe('report --html', () => {
  it('writes the same page with --json, its map of memory included', async () => {
    const mapOf = (): string =>
      /<section aria-labelledby="h-map">.*?<\/section>/s.exec(readFileSync(page, 'utf8'))?.[0] ?? '';
    expect((await report(page)).exitCode).toBe(0);
    const map = mapOf();
    expect(map).not.toBe('');
    expect((await report(page, '--json')).exitCode).toBe(0);
    expect(mapOf()).toBe(map);
  });

  it('refuses its own image, by whatever name', async () => {
    const link = join(root, 'link');
    symlinkSync(image, link);
    for (const name of [image, link]) await expectKept(image, () => report(name), 'is a save image');
  });

  it.each([
    ['an image that libvirt has not finished', 'LibvirtQemudPart and more'],
    ['an image', 'LibvirtQemudSave and more'],
  ])('refuses %s', async (_, text) => {
    writeFileSync(page, text);
    await expectKept(page, () => report(page), 'is a save image');
  });

  it('refuses a stub', async () => {
    const stub = join(root, 'saves', 'stub.save');
    writeFileSync(stub, smallImage().bytes);
    expect((await pars('offload', stub)).exitCode).toBe(0);
    await expectKept(stub, () => report(stub), 'is a save image or a stub');
  });

  it('refuses what is no page of its own, unless forced', async () => {
    for (const text of ['root:x:0:0:root:/root:/bin/bash\n', '<!doctype html>\n<title>Holidays</title>\n']) {
      writeFileSync(page, text);
      await expectKept(page, () => report(page), 'is not a report that pars wrote');
    }
    expect((await report(page, '--force')).exitCode).toBe(0);
    expect(readFileSync(page, 'utf8')).toContain('Pars</title>');
  });

  it('writes a new file, over an empty one, and over its own', async () => {
    writeFileSync(page, '');
    for (const to of [page, page, join(root, 'new.html')]) expect((await report(to)).exitCode).toBe(0);
    expect(readdirSync(root).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('writes nothing into a directory of the store, forced or not', async () => {
    const inside = join(fixture.directories[0]!, 'page.html');
    for (const more of [[], ['--force']]) {
      const { exitCode, stderr } = await report(inside, ...more);
      expect({ exitCode, files: readdirSync(fixture.directories[0]!) }).toEqual({
        exitCode: REFUSED,
        files: ['pars-store.json'],
      });
      expect(stderr).toContain('is a directory of a store');
    }
  });
});

describe('restore --to', () => {
  it('writes over no file of the store, forced or not', async () => {
    const { snapshot } = JSON.parse((await pars('offload', image, '--json')).stdout) as { snapshot: string };
    const manifest = join(fixture.directories[0]!, snapshot, 'manifest.json');
    for (const to of [manifest, join(fixture.directories[0]!, 'pars-store.json')]) {
      await expectKept(
        to,
        () => pars('restore', snapshot, '--to', to, '--force'),
        'is a directory of a store',
      );
    }
  });

  it('keeps a file that is there, unless forced', async () => {
    const { snapshot } = JSON.parse((await pars('offload', image, '--json')).stdout) as { snapshot: string };
    await expectKept(image, () => pars('restore', snapshot, '--to', image), 'exists already');
    expect((await pars('restore', snapshot, '--to', image, '--force')).exitCode).toBe(0);
  });
});

describe('metrics.file', () => {
  it('is not written over what is no metrics of pars', async () => {
    const file = join(root, 'node.prom');
    configure(`metrics: {file: ${file}}\n`);
    const write = (): Promise<Ran> => pars('metrics', '--write', '--save-dir', join(root, 'saves'));
    writeFileSync(file, '# HELP node_boots_total Boots.\n');
    await expectKept(file, write, 'is not a file of metrics that pars wrote');
    writeFileSync(file, '');
    for (let i = 0; i < 2; i++) expect((await write()).exitCode).toBe(0);
    expect(readFileSync(file, 'utf8')).toMatch(/^# HELP pars_/);
  });
});
