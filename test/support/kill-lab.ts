// SPDX-License-Identifier: Apache-2.0
/**
 * Runs offloads and hydrations as processes of their own, which may be killed at any instant, and looks at
 * what they leave.
 */
import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { ImageFile } from '../../src/image/image-file.js';
import { probeImage } from '../../src/reader/reader.js';
import { restore } from '../../src/lifecycle/restore.js';
import { listSnapshots } from '../../src/snapshot/snapshots.js';
import { initLocalStore } from '../../src/stores/local/init.js';
import { openStore } from '../../src/stores/open.js';
import type { Store } from '../../src/stores/store.js';
import { bundleProgram } from './bundled-program.js';
import { rawImage } from './compressed.js';
import type { KillRequest, KillResult } from './kill-entry.js';
import { MEMORY_DIRECTORY } from './memory-directory.js';

/** One level below the root, where the program looks for its binaries. */
const ENTRY = resolve('build/kill-entry.mjs');

/** Others may be running it. */
export const buildEntry = (): Promise<void> => bundleProgram('test/support/kill-entry.ts', ENTRY);

export type Work = Pick<KillRequest, 'work'> & Partial<KillRequest>;

export class KillLab {
  readonly image: string;
  readonly stateDir: string;
  readonly #original: string;
  readonly #raw: Buffer;

  private constructor(
    readonly root: string,
    original: string,
    readonly storeUrl: string,
    readonly policy: KillRequest['policy'],
  ) {
    this.#original = original;
    this.#raw = rawImage(original) ?? Buffer.alloc(0);
    this.image = join(root, 'saves', 'guest.save');
    this.stateDir = join(root, 'state');
  }

  /** A state directory, a copy of the image at `original`, and a store: by default three directories. */
  static async create(
    original: string,
    storeUrl?: string,
    policy: KillRequest['policy'] = 'pars',
  ): Promise<KillLab> {
    const root = await mkdtemp(join(MEMORY_DIRECTORY, 'pars-kill-'));
    const directories = ['d1', 'd2', 'd3'].map((name) => join(root, name)).join(',');
    const lab = new KillLab(root, original, storeUrl ?? `local:${directories}`, policy);
    await mkdir(join(lab.root, 'saves'));
    await mkdir(lab.stateDir);
    if (storeUrl === undefined) await initLocalStore(directories, { allowSameDevice: true });
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

  request(work: Work): KillRequest {
    return {
      image: this.image,
      store: this.storeUrl,
      stateDir: this.stateDir,
      policy: this.policy,
      killAt: null,
      ...work,
    };
  }

  /** Runs to its end; null when it died. */
  async run(work: Work): Promise<KillResult | null> {
    const { stdout } = await promisify(execFile)(process.execPath, [
      ENTRY,
      JSON.stringify(this.request(work)),
    ]).catch((error: { stdout: string }) => error);
    const answer = stdout.split('\n').find((line) => line.startsWith('{'));
    return answer === undefined ? null : (JSON.parse(answer) as KillResult);
  }

  /** Kills it so long after it began; true when it was killed before it was through. */
  runAndKill(work: Work, afterMs: number): Promise<boolean> {
    const child = spawn(process.execPath, [ENTRY, JSON.stringify(this.request(work))], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    child.stdout.once('data', () => setTimeout(() => child.kill('SIGKILL'), afterMs));
    return new Promise((done) => child.on('close', (_, signal) => done(signal === 'SIGKILL')));
  }

  /**
   * 'image': what it was, byte for byte (of a compressed one: what it unpacks to); 'stub': recognised as one;
   * else what is wrong.
   */
  async stateOfImage(): Promise<string> {
    if (!existsSync(this.image)) return 'missing';
    if (rawImage(this.image)?.equals(this.#raw)) return 'image';
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
    const store = await openStore(this.storeUrl);
    return this.#checkSnapshots(store).finally(() => store.close());
  }

  async #checkSnapshots(store: Store): Promise<number> {
    const whole = (await listSnapshots(store)).filter((entry) => entry.condition !== 'incomplete');
    for (const { snapshot, condition } of whole) {
      if (condition !== 'whole') throw new Error(`${snapshot} is ${condition}`);
      const path = join(this.root, 'restored');
      await restore(store, snapshot, path, { force: true });
      if (!(await readFile(path)).equals(this.#raw))
        throw new Error(`${snapshot} does not give back the image`);
    }
    return whole.length;
  }

  async bytesOnDisk(): Promise<number> {
    const file = await ImageFile.open(this.image);
    return file.allocatedBytes().finally(() => file.close());
  }
}
