// SPDX-License-Identifier: Apache-2.0
/** Nothing that a guest, a store or a server says reaches a terminal or a log as a command to it. */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { encodeManifest } from '../../src/snapshot/manifest-codec.js';
import { objectPath } from '../../src/snapshot/snapshots.js';
import { tellSystem } from '../../src/system/system-log.js';
import { Output } from '../../src/ui/output.js';
import { renderCsv } from '../../src/ui/report-csv.js';
import { put } from '../contract/store.js';
import { Hostile } from '../support/hostile-hdfs.js';
import { localFixture } from '../support/local-store.js';
import { sampleManifest } from '../support/manifests.js';
import { runPars } from '../support/run-pars.js';

/** Clears the screen, names the window, by C0 and by C1; turns the direction of what follows; rings. */
const EVIL = 'a\u001b[2J\u001b]0;owned\u0007\u009b2J\u202eb\u007f\u200b\rc';
const OBEYED = /[\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e]|\r(?!\n)/;

afterEach(() => void vi.restoreAllMocks());

/** What is printed on either stream. */
function printed(print: (output: Output) => void, json = false): string {
  const writes = [process.stdout, process.stderr].map((stream) =>
    vi.spyOn(stream, 'write').mockReturnValue(true),
  );
  print(new Output({ json }));
  return writes.flatMap(({ mock }) => mock.calls.map(([text]) => String(text))).join('');
}

describe('the place that prints (row 11)', () => {
  it.each<[string, (output: Output) => void]>([
    ['a result', (output) => output.text(EVIL)],
    ['a note', (output) => output.note(EVIL)],
    ['a warning', (output) => output.warning(EVIL)],
    ['an error', (output) => output.failure(EVIL, EVIL)],
    ['a stack', (output) => output.trace(EVIL)],
  ])('cleans %s', (_, print) => {
    const text = printed(print);
    expect(text).toContain('owned');
    expect(text).not.toMatch(OBEYED);
  });

  it('cleans JSON, whose value stays', () => {
    const text = printed((output) => output.json({ [EVIL]: EVIL }), true);
    expect(text).not.toMatch(OBEYED);
    expect(JSON.parse(text)).toEqual({ [EVIL]: EVIL });
  });

  it('lets no message pass for another line of the program', () => {
    expect(printed((output) => output.failure('one\npars: all is well', 'do\npars: this'))).toBe(
      'pars: one\n      pars: all is well\n      do\n      pars: this\n',
    );
  });
});

describe('what comes from outside (row 11)', () => {
  const hostile = new Hostile();
  afterEach(() => hostile.stop());

  it("is a server's error", async () => {
    const RemoteException = { exception: EVIL, message: EVIL };
    const { port } = await hostile.serve(() => ({ status: 400, body: JSON.stringify({ RemoteException }) }));
    for (const more of [[], ['--json']]) {
      const url = `webhdfs://127.0.0.1:${port}/s`;
      const { stdout, stderr, exitCode } = await runPars('store', 'status', '--store', url, ...more);
      expect(exitCode).toBe(6);
      expect(`${stdout}${stderr}`).toContain('owned');
      expect(`${stdout}${stderr}`).not.toMatch(OBEYED);
    }
  });

  it('is the name of a guest in the store', async () => {
    const fixture = await localFixture();
    const domain = { uuid: sampleManifest().domain.uuid, name: EVIL };
    const manifest = sampleManifest({ domain, guest: { introspected: false, kernel: EVIL, reason: EVIL } });
    await put(fixture.store, objectPath(manifest.snapshot, 'manifest.json'), encodeManifest(manifest), 3);
    for (const call of [['list'], ['show', manifest.snapshot], ['verify', manifest.snapshot]])
      for (const more of [[], ['--json']]) {
        const { stdout, stderr } = await runPars(...call, '--store', `local:${fixture.path}`, ...more);
        expect(`${stdout}${stderr}`).not.toMatch(OBEYED);
      }
    await fixture.dispose();
  });

  it('is a cell of CSV', () => {
    const error = { kind: 'corrupt', message: EVIL, hint: null };
    const text = renderCsv([{ path: EVIL, error }]);
    expect(text).toContain('owned');
    expect(text).not.toMatch(OBEYED);
  });

  it("is a line of the system's log", async () => {
    const directory = await mkdtemp(join(tmpdir(), 'pars-log-'));
    const log = join(directory, 'log');
    await writeFile(
      join(directory, 'logger'),
      `#!/bin/sh\nfor last; do :; done\nprintf %s "$last" >${log}\n`,
    );
    await chmod(join(directory, 'logger'), 0o755);
    vi.stubEnv('PATH', `${directory}:${process.env['PATH']}`);
    await tellSystem('err', `${EVIL}\nsecond line`);
    vi.unstubAllEnvs();
    const told = await readFile(log, 'utf8');
    expect(told).toContain('owned');
    expect(told).not.toMatch(OBEYED);
    expect(told).not.toContain('\n');
    await rm(directory, { recursive: true });
  });
});
