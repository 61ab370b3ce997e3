/** Runs offloads and hydrations as processes of their own, which may be killed at any instant, and looks at what they leave. */
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { ImageFile } from '../../src/image-file.js';
import { probeImage } from '../../src/reader.js';
import { restore } from '../../src/restore.js';
import { listSnapshots } from '../../src/snapshots.js';
import { LocalStore } from '../../src/stores/local.js';
import { initLocalStore } from '../../src/stores/local-init.js';
import type { KillRequest, KillResult } from './kill-entry.js';

/** One level below the root, where the program looks for its binaries. */
const ENTRY = resolve('build/kill-entry.mjs');

/** Puts the program to be killed into one file that starts fast. */
export async function buildEntry(): Promise<void> {
  await build({ entryPoints: ['test/support/kill-entry.ts'], outfile: ENTRY, bundle: true, platform: 'node', format: 'esm', packages: 'external', logLevel: 'error' });
}

export type Work = Pick<KillRequest, 'work'> & Partial<KillRequest>;

export class KillLab {
  readonly image: string;
  readonly stateDir: string;
  readonly directories: string[];
  readonly #original: string;
  readonly #policy: string;

  private constructor(
    readonly root: string,
    original: string,
    policy: string,
  ) {
    this.#original = original;
    this.#policy = policy;
    this.image = join(root, 'saves', 'guest.save');
    this.stateDir = join(root, 'state');
    this.directories = ['d1', 'd2', 'd3'].map((name) => join(root, name));
  }

  /** A store, a state directory, and a copy of the image at `original`. */
  static async create(original: string, policy = 'pars'): Promise<KillLab> {
    const lab = new KillLab(await mkdtemp(join(tmpdir(), 'pars-kill-')), original, policy);
    await mkdir(join(lab.root, 'saves'));
    await mkdir(lab.stateDir);
    await initLocalStore(lab.directories.join(','), { allowSameDevice: true });
    await lab.freshImage();
    return lab;
  }

  async freshImage(): Promise<void> {
    await rm(this.image, { force: true });
    await copyFile(this.#original, this.image);
  }

  dispose(): Promise<void> {
    return rm(this.root, { recursive: true, force: true });
  }

  get store(): LocalStore {
    return LocalStore.fromPath(this.directories.join(','));
  }

  request(work: Work): KillRequest {
    return { image: this.image, store: `local:${this.directories.join(',')}`, stateDir: this.stateDir, policy: this.#policy, killAt: null, ...work };
  }

  /** Runs to its end; null when it died. */
  async run(work: Work): Promise<KillResult | null> {
    const { stdout } = await promisify(execFile)(process.execPath, [ENTRY, JSON.stringify(this.request(work))]).catch((error: { stdout: string }) => error);
    const answer = stdout.split('\n').find((line) => line.startsWith('{'));
    return answer === undefined ? null : (JSON.parse(answer) as KillResult);
  }

  /** Kills it so long after it began; true when it was killed before it was through. */
  runAndKill(work: Work, afterMs: number): Promise<boolean> {
    const child = spawn(process.execPath, [ENTRY, JSON.stringify(this.request(work))], { stdio: ['ignore', 'pipe', 'ignore'] });
    child.stdout.once('data', () => setTimeout(() => child.kill('SIGKILL'), afterMs));
    return new Promise((done) => child.on('close', (_, signal) => done(signal === 'SIGKILL')));
  }

  /** 'image': what it was, byte for byte; 'stub': recognised as one; else what is wrong. */
  async stateOfImage(): Promise<string> {
    if (!existsSync(this.image)) return 'missing';
    if ((await sha256(this.image)) === (await sha256(this.#original))) return 'image';
    const file = await ImageFile.open(this.image);
    try {
      const { stubRecord } = await probeImage(file.fd);
      return stubRecord === null ? 'neither image nor stub' : 'stub';
    } catch (error) {
      return String(error);
    } finally {
      await file.close();
    }
  }

  /** Every snapshot that exists gives back the image. Returns how many there are. */
  async checkStore(): Promise<number> {
    const whole = (await listSnapshots(this.store)).filter((entry) => entry.condition !== 'incomplete');
    for (const { snapshot, condition } of whole) {
      if (condition !== 'whole') throw new Error(`${snapshot} is ${condition}`);
      const path = join(this.root, 'restored');
      await restore(this.store, snapshot, path, { force: true });
      if ((await sha256(path)) !== (await sha256(this.#original))) throw new Error(`${snapshot} does not give back the image`);
    }
    return whole.length;
  }

  async bytesOnDisk(): Promise<number> {
    const file = await ImageFile.open(this.image);
    return file.allocatedBytes().finally(() => file.close());
  }
}

export async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
