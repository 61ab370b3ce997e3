/** What `pars status` tells: images waiting to be offloaded, work under way and how it ended, and the stubs of this host. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageFile } from './image-file.js';
import { readJobs, type Job } from './jobs.js';
import { liveStubs } from './live-stubs.js';
import { probeImage } from './reader.js';
import { StubRegistry, type KnownStub } from './stub-registry.js';

export interface HostStatus {
  /** Whole managed-save images that nobody is working on, and why they are still whole. */
  due: { image: string; domain: string; bytes: number; reason: string }[];
  running: Job[];
  /** Failed or interrupted, and not made good since. */
  failed: Job[];
  stubs: KnownStub[];
}

/** Looks at libvirt's directory of saves and at what this host remembers; changes nothing. */
export async function hostStatus(stateDir: string, saveDir: string): Promise<HostStatus> {
  const jobs = await readJobs(stateDir);
  const running = jobs.filter((job) => job.state === 'running');
  const failed = jobs.filter((job) => job.state === 'failed' || job.state === 'interrupted');
  return { due: await dueIn(saveDir, jobs), running, failed, stubs: await liveStubs(new StubRegistry(stateDir)) };
}

async function dueIn(saveDir: string, jobs: readonly Job[]): Promise<HostStatus['due']> {
  const names = (await readdir(saveDir).catch(() => [])).filter((name) => name.endsWith('.save'));
  const due = await Promise.all(names.map((name) => dueImage(join(saveDir, name), jobs)));
  return due.filter((entry) => entry !== null);
}

async function dueImage(path: string, jobs: readonly Job[]): Promise<HostStatus['due'][number] | null> {
  const job = jobs.find(({ image, kind }) => image === path && kind === 'offload');
  if (job?.state === 'running') return null;
  const file = await ImageFile.open(path).catch(() => null);
  if (file === null) return null;
  try {
    const { domain, bytes, stubRecord } = await probeImage(file.fd);
    if (stubRecord !== null || domain.optOut) return null;
    return { image: path, domain: domain.name, bytes, reason: reasonOf(job) };
  } catch {
    return null; // not an image of ours to offload
  } finally {
    await file.close();
  }
}

function reasonOf(job: Job | undefined): string {
  if (job?.state === 'failed') return job.error?.message ?? 'the last offload failed';
  if (job?.state === 'interrupted') return 'the last offload was interrupted';
  return job?.state === 'done' ? 'it was refilled, or saved again, since it was offloaded' : 'nobody has offloaded it yet';
}
