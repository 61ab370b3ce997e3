// SPDX-License-Identifier: Apache-2.0
/** `pars init`: after one command a guest that is saved is offloaded, and starts again from its stub. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ParsHost } from '../support/pars-host.js';

let host: ParsHost;
let answers: string[];

beforeAll(async () => {
  host = await ParsHost.start();
  answers = ['--policy', 'pars', '--prefix', join(host.lab.dir, 'program')];
});
afterAll(() => host.stop());

test('one command, and the host is protected', async () => {
  const file = host.lab.hostPath('etc/pars/pars.yaml');
  const store = `local:${['e1', 'e2', 'e3'].map((name) => join(host.lab.dir, name)).join(',')}`;
  await writeFile(file, '# a file that a package has put there\n#store: local:/srv/d1\n');

  const refused = await host.try('init', '--store', store, ...answers);
  expect(refused).toMatchObject({
    code: 3,
    stderr: expect.stringContaining('--allow-same-device') as string,
  });
  expect(await readFile(file, 'utf8')).not.toContain(host.lab.dir);

  const said = await host.pars('init', '--store', store, '--allow-same-device', ...answers);
  expect(said).toMatch(/^Set up [^]*Wrote \/etc\/pars\/pars.yaml\.[^]*Wrote \/etc\/libvirt\/hooks\/qemu/);
  expect(said).toMatch(/^ok +hook +\//m);
  expect(said).toMatch(/^ok +store writable/m);
  expect(said).not.toMatch(/^failure/m);
  expect(await readFile(file, 'utf8')).toBe(
    `# a file that a package has put there\nstore: ${store}\npolicy: pars\n`,
  );

  // Again: nothing is left to do, and nothing is changed.
  const again = await host.json<{ changes: string[]; outcome: string }>('init', ...answers);
  expect(again.changes.filter((change) => /^(wrote|copied|enabled)/.test(change))).toEqual([]);
  expect(again.outcome).not.toBe('failure');

  const guest = await host.boot();
  await guest.managedSave();
  await host.untilStub(guest.hostImagePath);
  await guest.start();
  expect((await guest.check()).ok).toBe(true);
}, 300_000);
