// SPDX-License-Identifier: Apache-2.0
/** How often the reader is started for one image: each start costs a process, and reads the head again. */
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ImageFile } from '../../src/image/image-file.js';
import { ProbeMemory } from '../../src/image/probe-memory.js';
import { smallImage } from '../support/image-builder.js';
import { type LocalFixture, localFixture } from '../support/local-store.js';
import { runPars } from '../support/run-pars.js';

const starts: string[] = [];
vi.mock('node:child_process', async (original) => {
  const real = await original<typeof import('node:child_process')>();
  const spawn = ((program: string, args: string[], options: object) => {
    if (program.endsWith('pars-reader')) starts.push(args[0] ?? '');
    return real.spawn(program, args, options);
  }) as typeof real.spawn;
  return { ...real, spawn };
});

/** Longer than a file system's clock may lag behind. */
const SETTLED_MS = 150;

let fixture: LocalFixture;
let root: string;
let image: string;

beforeEach(async () => {
  fixture = await localFixture();
  root = mkdtempSync(join(tmpdir(), 'pars-starts-'));
  mkdirSync(join(root, 'saves'));
  image = join(root, 'saves', 'g.save');
  writeFileSync(join(root, 'pars.yaml'), `store: local:${fixture.path}\nstate_dir: ${root}/state\n`);
  writeFileSync(image, smallImage().bytes);
  await sleep(SETTLED_MS);
  starts.length = 0;
});
afterEach(async () => {
  rmSync(root, { recursive: true, force: true });
  await fixture.dispose();
});

describe('the reader', () => {
  it('is started twice for an image that the queue offloads: to find it due, and to pack it', async () => {
    const places = ['--config', join(root, 'pars.yaml'), '--save-dir', join(root, 'saves')];
    const ran = await runPars('offload', '--pending', '--json', ...places);
    expect(JSON.parse(ran.stdout)).toMatchObject({ offloaded: [image], left: [] });
    expect(starts).toEqual(['probe', 'pack']);
  });

  it('is asked again about a file that has changed, or may have', async () => {
    const probes = new ProbeMemory();
    const file = await ImageFile.open(image);
    const clock = vi.spyOn(Date, 'now');
    try {
      for (let i = 0; i < 2; i++) await probes.probe(file);
      expect(starts).toEqual(['probe']);
      utimesSync(image, 1, 1);
      const changedAt = Number((await file.identity()).ctimeNs / 1_000_000n);
      clock.mockReturnValue(changedAt + 50);
      for (let i = 0; i < 2; i++) await probes.probe(file);
      expect(starts, 'changed within the tick of a clock').toEqual(['probe', 'probe', 'probe']);
      clock.mockReturnValue(changedAt + 1000);
      for (let i = 0; i < 2; i++) await probes.probe(file);
      expect(starts).toHaveLength(4);
    } finally {
      clock.mockRestore();
      await file.close();
    }
  });
});
