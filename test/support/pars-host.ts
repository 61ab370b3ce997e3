// SPDX-License-Identifier: Apache-2.0
/**
 * A host with Pars on it: a lab, three directories that stand for disks, a configuration, and the built
 * program, run as people run it. Nothing of it is replaced by anything else.
 *
 *   const host = await ParsHost.start();
 *   await host.installHook();
 *   const guest = await host.boot();
 *   await guest.managedSave();
 *   await host.untilStub(guest.hostImagePath);
 *   await guest.start();
 */
import { randomBytes } from 'node:crypto';
import { watch } from 'node:fs';
import { access, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Lab, type Guest, type GuestOptions, type LabOptions, type Outcome } from './lab.js';

const PROGRAM = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
/** What a stub may take on the disk. */
export const STUB_LIMIT = 8 << 20;

export interface HostOptions {
  /** How its lab is to be. */
  lab?: LabOptions;
  /** A second host on the store of another, with a machine-id of its own. */
  beside?: ParsHost;
  /** URL of a store elsewhere, in place of the three directories. */
  store?: string;
}

export class ParsHost {
  private constructor(
    readonly lab: Lab,
    readonly disks: readonly string[],
    readonly store: string,
  ) {}

  static async start({ beside, store, lab: labOptions }: HostOptions = {}): Promise<ParsHost> {
    await access(PROGRAM).catch(() => {
      throw new Error(`${PROGRAM} is not there: run "npm run build" first`);
    });
    const lab = await Lab.start(labOptions);
    const disks =
      beside?.disks
      ?? (store === undefined ? ['d1', 'd2', 'd3'].map((name) => join(lab.dir, 'store', name)) : []);
    const host = new ParsHost(lab, disks, beside?.store ?? store ?? `local:${disks.join(',')}`);
    try {
      await host.#hideSystemd();
      await host.configure('lean');
      if (beside !== undefined) await host.#becomeAnother();
      else if (store !== undefined) await host.pars('store', 'init');
      else {
        await mkdir(join(lab.dir, 'store'));
        await host.pars('store', 'init', '--allow-same-device');
      }
    } catch (error) {
      await lab.stop();
      throw error;
    }
    return host;
  }

  /** A hook that finds systemd hands its work to it: outside, where the lab's files are not. */
  async #hideSystemd(): Promise<void> {
    await this.lab.exec('sh', ['-c', 'if [ -d /run/systemd ]; then mount -t tmpfs none /run/systemd; fi']);
  }

  /** All that runs ends, guests too, and the host is up again. Not for a second host on a store. */
  async powerCut(): Promise<void> {
    await this.lab.powerCut();
    await this.#hideSystemd();
  }

  async #becomeAnother(): Promise<void> {
    const file = join(this.lab.dir, 'machine-id');
    await writeFile(file, `${randomBytes(16).toString('hex')}\n`);
    const { code, stderr } = await this.lab.exec('mount', ['--bind', file, '/etc/machine-id']);
    if (code !== 0) throw new Error(`no machine-id of its own: ${stderr}`);
  }

  stop(): Promise<void> {
    return this.lab.stop();
  }

  /**
   * Writes /etc/pars/pars.yaml; the hook reads it again each time. What the guest's disks hold is stored like
   * all else, unless `policy` goes on with a line "disk_references: auto": most tests are about what a store
   * holds, or does not.
   */
  configure(policy: string): Promise<void> {
    const references = policy.includes('disk_references') ? '' : 'disk_references: off\n';
    const waits = 'hook:\n  wait_for_store: 2s\nqueue:\n  settle: 2s\n';
    const text = `store: ${this.store}\npolicy: ${policy}\n${references}${waits}`;
    return writeFile(this.lab.hostPath('etc/pars/pars.yaml'), text);
  }

  /** The words that run the program. */
  command(...args: string[]): [string, ...string[]] {
    return [process.execPath, PROGRAM, ...args];
  }

  /** Runs the program inside the lab; a non-zero exit is an answer. */
  try(...args: string[]): Promise<Outcome> {
    const [command, ...words] = this.command(...args);
    return this.lab.exec(command, words);
  }

  /** The same, but a failure throws what the program said. */
  async pars(...args: string[]): Promise<string> {
    const { stdout, stderr, code } = await this.try(...args);
    if (code !== 0) throw new Error(`pars ${args.join(' ')} exited with ${code}: ${stderr.trim()}`);
    return stdout;
  }

  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.pars(...args, '--json')) as T;
  }

  /** Not below /usr/local, which the lab shares with the machine. */
  installHook(): Promise<string> {
    return this.pars('hooks', 'install', '--prefix', join(this.lab.dir, 'program'));
  }

  uninstallHook(...options: string[]): Promise<string> {
    return this.pars('hooks', 'uninstall', '--prefix', join(this.lab.dir, 'program'), ...options);
  }

  /** A quiet guest with files in its page cache. */
  async boot(options: GuestOptions = {}): Promise<Guest> {
    const guest = await this.lab.defineGuest({
      kernel: 'bookworm',
      memoryMiB: 256,
      cmdline: 'pars.fill=40',
      disks: [{ fs: 'ext4', generate: 320 }],
      ...options,
    });
    await guest.boot();
    return guest;
  }

  /** Waits until the image is a stub; a deadline that passes says what the host knows of its offloads. */
  async untilStub(path: string, deadlineMs = 180_000): Promise<void> {
    if (await until(path, async () => (await bytesOnDisk(path)) < STUB_LIMIT, deadlineMs)) return;
    const log = await readFile(this.lab.hostPath('var/lib/pars/offload.log'), 'utf8').catch(() => '');
    const { stdout, stderr } = await this.try('status');
    throw new Error(`${path} is no stub after ${deadlineMs} ms\nlog: ${log}\nstatus: ${stdout}${stderr}`);
  }

  /** The guest's newest snapshot. */
  async snapshotOf(guest: Guest): Promise<string> {
    const { snapshots } = await this.json<{ snapshots: { snapshot: string }[] }>('list', guest.uuid);
    const last = snapshots.at(-1);
    if (!last) throw new Error(`no snapshot of ${guest.name}`);
    return last.snapshot;
  }

  /** Takes a disk of the store away, as if unmounted: the empty mount point stays. */
  async unmount(nth: number): Promise<void> {
    const disk = this.#disk(nth);
    await rename(disk, `${disk}.away`);
    await mkdir(disk);
  }

  async mount(nth: number): Promise<void> {
    const disk = this.#disk(nth);
    await rename(disk, `${disk}.mountpoint`);
    await rename(`${disk}.away`, disk);
  }

  #disk(nth: number): string {
    const disk = this.disks[nth];
    if (disk === undefined) throw new Error(`no disk ${nth}`);
    return disk;
  }
}

/** What `du` would say. */
export async function bytesOnDisk(path: string): Promise<number> {
  return (await stat(path)).blocks * 512;
}

/** Asks again whenever the file at `path` has changed; false when the deadline comes first. */
async function until(path: string, holds: () => Promise<boolean>, deadlineMs: number): Promise<boolean> {
  const changes = new AbortController();
  const timer = setTimeout(() => changes.abort(), deadlineMs);
  try {
    // The watch is older than the first question: a change between the two is not missed.
    return await new Promise<boolean>((resolve, reject) => {
      const ask = (): void => void holds().then((answer) => answer && resolve(true), reject);
      watch(path, { signal: changes.signal }, ask).on('error', reject);
      changes.signal.addEventListener('abort', () => resolve(false));
      ask();
    });
  } finally {
    clearTimeout(timer);
    changes.abort();
  }
}
