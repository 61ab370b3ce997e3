// SPDX-License-Identifier: Apache-2.0
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { lossInWords, noteLosses, readLosses } from '../../src/journal/losses.js';

const refill = (unexpected: number) => ({
  image: '/saves/a.save',
  domain: 'a',
  snapshot: 'u/t',
  losses: { byPolicy: 7, unexpected, recovered: unexpected },
});
let stateDir: string;

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'pars-losses-'));
  vi.stubEnv('PATH', stateDir); // no logger: the note must not depend on it
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(stateDir, { recursive: true });
});

it('notes what a refill lost beyond its policy, the latest first', async () => {
  await noteLosses(stateDir, refill(3));
  await noteLosses(stateDir, refill(5));
  expect((await readLosses(stateDir)).map(({ losses }) => losses.unexpected)).toEqual([5, 3]);
  expect(readFileSync(join(stateDir, 'losses.jsonl'), 'utf8').split('\n')).toHaveLength(3);
});

it('notes it on a line of its own, also after one that a full disk or a kill cut short', async () => {
  await noteLosses(stateDir, refill(3));
  appendFileSync(join(stateDir, 'losses.jsonl'), '{"time":"2026-');
  await noteLosses(stateDir, refill(5));
  appendFileSync(join(stateDir, 'losses.jsonl'), 'null\n');
  await noteLosses(stateDir, refill(6));
  expect((await readLosses(stateDir)).map(({ losses }) => losses.unexpected)).toEqual([6, 5, 3]);
});

it('notes nothing when only the policy left pages out, and does not fail where it cannot write', async () => {
  await noteLosses(stateDir, refill(0));
  await noteLosses(join(stateDir, 'none'), refill(3));
  expect(await readLosses(stateDir)).toEqual([]);
});

it('says it in words', () => {
  expect(lossInWords({ byPolicy: 7, unexpected: 5, recovered: 4 })).toMatch(
    /^5 expendable pages were lost, 7 were not stored, 4 .* recovered/,
  );
});
