// SPDX-License-Identifier: Apache-2.0
/** Jobs of processes that are no more, and of several that come for one image. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ParsError } from '../../src/errors.js';
import { asJob, type Job, JobRecord, readJobs } from '../../src/journal/jobs.js';
import { processStart } from '../../src/system/process-start.js';

let stateDir: string;
let other: ChildProcess | null;

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'pars-jobs-'));
  other = null;
});
afterEach(() => {
  other?.kill('SIGKILL');
  rmSync(stateDir, { recursive: true });
});

const IMAGE = '/saves/a.save';

/** Makes the note of a job of this process that of another's. */
async function runBy(pid: number): Promise<void> {
  await JobRecord.begin(stateDir, 'offload', IMAGE);
  const [name = ''] = readdirSync(join(stateDir, 'jobs'));
  const path = join(stateDir, 'jobs', name);
  const job = JSON.parse(readFileSync(path, 'utf8')) as Job;
  writeFileSync(path, JSON.stringify({ ...job, pid, processStart: processStart(pid) }));
}

const fail = (error: ParsError): Promise<unknown> =>
  asJob(stateDir, 'offload', IMAGE, () => Promise.reject(error)).catch((thrown: unknown) => thrown);

it('of a process that has ended, and whose parent never asks for that, is interrupted', async () => {
  other = spawn('sh', ['-c', 'sleep 600 & echo $!; exec sleep 600'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [line] = (await once(other.stdout!, 'data')) as [Buffer];
  const pid = Number(line.toString());
  await runBy(pid);
  expect(await readJobs(stateDir)).toMatchObject([{ pid, state: 'running' }]);
  process.kill(pid, 'SIGKILL');
  await vi.waitFor(() => expect(readFileSync(`/proc/${pid}/stat`, 'latin1')).toMatch(/\) Z /));
  expect(await readJobs(stateDir)).toMatchObject([{ pid, state: 'interrupted' }]);
});

it('of another process stays known as running when one comes to nothing beside it', async () => {
  other = spawn('sleep', ['600'], { stdio: 'ignore' });
  await once(other, 'spawn');
  await runBy(other.pid!);
  await fail(new ParsError('busy', 'another pars works on it'));
  expect(await readJobs(stateDir)).toMatchObject([{ pid: other.pid, state: 'running' }]);
  const ended = once(other, 'exit');
  other.kill('SIGKILL');
  await ended;
  await fail(new ParsError('busy', 'libvirt has it open'));
  expect(await readJobs(stateDir)).toMatchObject([{ pid: process.pid, state: 'failed' }]);
});

it.each([
  ['not told when it began', { kind: 'offload', image: IMAGE, state: 'done' }],
  ['an image alone', { image: IMAGE }],
])('that say too little are damaged, and hide no other: %s', async (_, note) => {
  await JobRecord.begin(stateDir, 'hydrate', IMAGE);
  const damaged = join(stateDir, 'jobs', 'offload-0.json');
  writeFileSync(damaged, JSON.stringify(note));
  const jobs = await readJobs(stateDir);
  expect(jobs.sort((a, b) => a.kind.localeCompare(b.kind))).toMatchObject([
    { image: IMAGE, kind: 'hydrate', state: 'running' },
    { image: damaged, state: 'failed', error: { kind: 'corrupt' } },
  ]);
});
