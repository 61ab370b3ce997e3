// SPDX-License-Identifier: Apache-2.0
/**
 * The guest laboratory: real Linux guests under a private libvirtd (see lab/libvirt), for integration tests,
 * the demo and benchmarks. Needs root on Linux; tools and kernels come by apt when they are missing.
 *
 *   const lab = await Lab.start();
 *   const guest = await lab.defineGuest({ kernel: 'bookworm', disks: [{ fs: 'ext4', generate: 320 }] });
 *   await guest.boot();
 *   await guest.managedSave();
 *   await guest.start();
 *   const { ok, reads } = await guest.check();
 *   await lab.stop();
 */
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Guest } from './lab/guest.js';
import { GuestConsole } from './lab/guest-console.js';

export { Guest, type Answer, type PageCounts } from './lab/guest.js';

const run = promisify(execFile);
const scripts = fileURLToPath(new URL('./lab/', import.meta.url));
/** Longer than any save or start of a guest here takes: a libvirtd that hangs fails its test. */
const VIRSH_DEADLINE_MS = 600_000;

/** Kernels that the tests are made for, oldest first: 5.10, 6.1, 6.12, 7.x. */
export const SUITES = ['bullseye', 'bookworm', 'trixie', 'sid'] as const;
export type Suite = (typeof SUITES)[number] | 'forky';

export interface LabOptions {
  /** save_image_format of qemu.conf. */
  saveFormat?: 'raw' | 'gzip' | 'bzip2' | 'xz' | 'lzop' | 'zstd' | 'sparse';
  /** More lines for qemu.conf. */
  qemuConf?: string;
  /** Where the lab's directory is made: needs room for the guests' images. */
  parent?: string;
}

export interface DiskSpec {
  fs: 'ext4' | 'xfs' | 'btrfs' | 'squashfs' | 'blank';
  /** MiB of made-up, reproducible content. */
  generate?: number;
  seed?: number;
  /** Files of a real directory of this host, up to `limit` MiB. */
  from?: string;
  limit?: number;
  /** MiB. */
  size?: number;
  mkfs?: string;
  /** MiB that the disk may grow by on its host: writes past that fail. */
  room?: number;
  /** qcow2 is an overlay over the shared image; raw is a copy of it. */
  format?: 'qcow2' | 'raw';
}

/** An image that is there already: used as it is, or under an overlay of the guest's own. */
export interface DiskImage {
  image: string;
  format: 'qcow2' | 'raw';
  overlay?: boolean;
}

export interface GuestOptions {
  name?: string;
  /** Without a kernel the guest stays in its firmware. */
  kernel?: Suite | undefined;
  /** Files to boot in place of a suite's kernel. */
  boot?: BootFiles;
  memoryMiB?: number;
  vcpus?: number;
  machine?: 'pc' | 'q35';
  cpu?: string;
  /**
   * Added to the kernel's command line: pars.fill=40 pars.files=all pars.anon=16 pars.tmpfs=8 pars.maps=4 ...
   */
  cmdline?: string;
  disks?: (DiskSpec | DiskImage)[];
  /** One XML element of a namespace of its own. */
  metadata?: string;
  /** RAM in a named memory backend. */
  memfd?: boolean;
  /** A balloon, which `virsh setmem` inflates; or one that also gives free pages back to the host. */
  balloon?: boolean | 'reporting';
  /** XML added to the domain as it is. */
  elements?: string;
  qemuArgs?: string[];
}

export interface BootFiles {
  kernel: string;
  initrd?: string;
}

export interface Outcome {
  stdout: string;
  stderr: string;
  code: number;
}

export interface ExecOptions {
  input?: string | Buffer;
  env?: Record<string, string>;
  cwd?: string;
  signal?: AbortSignal;
}

/**
 * Why no lab can run here; undefined when one can. In CI a missing lab is a failure, not a reason to skip.
 */
export function labMissing(): string | undefined {
  const why =
    process.platform !== 'linux'
      ? 'guests need Linux'
      : process.getuid?.() !== 0
        ? 'guests need root'
        : undefined;
  if (why !== undefined && process.env['CI']) throw new Error(`CI must run the lab, but ${why}`);
  return why;
}

/** 9000 for libvirt 9.0, 11003 for 11.3; 0 where no lab can run. */
export function libvirtVersion(): number {
  if (labMissing() !== undefined) return 0;
  const [major = 0, minor = 0] = execFileSync(join(scripts, 'libvirt'), ['version'], { encoding: 'utf8' })
    .split('.')
    .map(Number);
  return major * 1000 + minor;
}

export class Lab {
  #holder: ChildProcess;
  #guests = 0;
  #stopped: Promise<void> | undefined;

  private constructor(
    readonly dir: string,
    readonly options: LabOptions,
    holder: ChildProcess,
  ) {
    this.#holder = holder;
  }

  static async start(options: LabOptions = {}): Promise<Lab> {
    const dir = await mkdtemp(join(options.parent ?? process.env['TMPDIR'] ?? '/var/tmp', 'pars-lab.'));
    return new Lab(dir, options, await holderOf(dir, options));
  }

  /**
   * Every process inside ends at once, and what a boot forgets (/run) is gone; libvirtd is started again.
   * What was written stays written: the disks are this machine's.
   */
  async powerCut(): Promise<void> {
    const gone = once(this.#holder, 'close');
    this.#holder.kill('SIGKILL');
    await gone;
    await rm(this.hostPath('run/libvirt'), { recursive: true, force: true });
    this.#holder = await holderOf(this.dir, this.options);
  }

  /**
   * Where a file of the private /etc/libvirt, /var/lib/libvirt, /etc/pars, ... lies for processes outside the
   * lab.
   */
  hostPath(inside: string): string {
    return join(this.dir, 'root', inside);
  }

  /** Runs a command inside; a non-zero exit is an answer, not an error. */
  async exec(command: string, args: readonly string[] = [], options: ExecOptions = {}): Promise<Outcome> {
    const child = this.spawn(command, args, options);
    const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
    child.stdin?.on('error', () => undefined); // A command need not read its input.
    child.stdin?.end(options.input ?? '');
    const [code] = (await once(child, 'close')) as [number | null];
    return { stdout: await stdout, stderr: await stderr, code: code ?? -1 };
  }

  /** Killing the child with SIGKILL kills the command inside as well. */
  spawn(command: string, args: readonly string[] = [], options: ExecOptions = {}): ChildProcess {
    return spawn(join(scripts, 'libvirt'), ['exec', this.dir, command, ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      ...(options.signal && { signal: options.signal, killSignal: 'SIGKILL' as const }),
    });
  }

  /** Throws libvirt's message when the command fails, and when libvirtd does not answer. */
  async virsh(...args: string[]): Promise<string> {
    const options = { signal: AbortSignal.timeout(VIRSH_DEADLINE_MS) };
    const asked = this.exec('virsh', ['-q', '-c', 'qemu:///system', ...args], options);
    const { stdout, stderr, code } = await asked.catch((cause: unknown) => {
      throw new Error(`virsh ${args.join(' ')}: no answer within ${VIRSH_DEADLINE_MS / 1000} s`, { cause });
    });
    if (code !== 0) throw new Error(`virsh ${args.join(' ')}: ${stderr.trim()}`);
    return stdout.trim();
  }

  /** libvirtd looks for hooks when it starts: restart it after the first one was installed. Guests go on. */
  async restartLibvirtd(): Promise<void> {
    await run(join(scripts, 'libvirt'), ['restart', this.dir]);
  }

  async defineGuest(options: GuestOptions = {}): Promise<Guest> {
    const number = this.#guests++;
    const console = new GuestConsole(
      join(this.dir, 'console', `g${number}.sock`),
      join(this.dir, 'console', `g${number}.log`),
    );
    const guest = new Guest(this, options.name ?? `guest-${number}`, randomUUID(), console);
    const disks = await Promise.all(
      (options.disks ?? []).map((spec, i) => this.#disk(spec, `g${number}-${i}`)),
    );
    const { stdout } = await run(join(scripts, 'domain-xml'), await domainArguments(guest, options, disks));
    const file = join(this.dir, `g${number}.xml`);
    await writeFile(file, stdout);
    await console.prepare();
    await this.virsh('define', file);
    return guest;
  }

  /** Ends guests and daemons, and removes the lab's directory. Safe twice. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    if (this.#holder.exitCode === null && this.#holder.signalCode === null) {
      const gone = once(this.#holder, 'close');
      this.#holder.stdin?.end();
      await gone;
    }
    await rm(this.dir, { recursive: true, force: true });
  }

  async #disk(spec: DiskSpec | DiskImage, name: string): Promise<string> {
    if ('image' in spec) {
      if (spec.overlay !== true) return `${spec.image},${spec.format}`;
      return this.#overlay(spec.image, spec.format, join(this.dir, 'disks', `${name}.qcow2`));
    }
    const { format = 'qcow2', room, ...rest } = spec;
    const base = await labScript(
      'disk',
      ...Object.entries(rest).flatMap(([key, value]) => [`--${key}`, String(value)]),
    );
    const dir = join(this.dir, 'disks', room === undefined ? '' : `${name}.room`);
    const file = join(dir, `${name}.${format}`);
    if (room !== undefined)
      await this.#inside('sh', '-c', `mkdir "$1" && mount -t tmpfs -o size=${room}m none "$1"`, 'sh', dir);
    if (format === 'qcow2') return this.#overlay(base, 'raw', file);
    await copyFile(base, file);
    return `${file},${format}`;
  }

  async #overlay(base: string, format: string, file: string): Promise<string> {
    await this.#inside('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', base, '-F', format, file);
    return `${file},qcow2`;
  }

  async #inside(command: string, ...args: string[]): Promise<void> {
    const { stderr, code } = await this.exec(command, args);
    if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr.trim()}`);
  }
}

async function domainArguments(guest: Guest, options: GuestOptions, disks: string[]): Promise<string[]> {
  const args = ['--name', guest.name, '--uuid', guest.uuid];
  args.push('--console', guest.console.socketPath, '--log', guest.console.logPath);
  args.push('--memory', String(options.memoryMiB ?? 512), '--vcpus', String(options.vcpus ?? 1));
  args.push('--machine', options.machine ?? 'pc', ...disks.flatMap((disk) => ['--disk', disk]));
  const boot = options.boot ?? (options.kernel === undefined ? undefined : await bootFiles(options.kernel));
  if (boot) args.push(...bootArguments(boot, options.cmdline ?? ''));
  if (options.cpu !== undefined) args.push('--cpu', options.cpu);
  if (options.metadata !== undefined) args.push('--metadata', options.metadata);
  if (options.elements !== undefined) args.push('--elements', options.elements);
  if (options.memfd) args.push('--memfd');
  if (options.balloon) args.push(options.balloon === 'reporting' ? '--reporting' : '--balloon');
  return [...args, ...(options.qemuArgs ?? []).flatMap((arg) => ['--arg', arg])];
}

/** A suite's kernel and the initramfs of the lab for it. */
export async function bootFiles(suite: Suite): Promise<Required<BootFiles>> {
  const dir = await labScript('kernel', suite);
  return { kernel: join(dir, 'vmlinuz'), initrd: await labScript('initrd', dir) };
}

/** What one of the lab's scripts prints: a path. */
export async function labScript(name: string, ...args: string[]): Promise<string> {
  return (await run(join(scripts, name), args)).stdout.trim();
}

function bootArguments({ kernel, initrd }: BootFiles, cmdline: string): string[] {
  // On a busy host an emulated timer looks broken to a kernel that checks it.
  // A panic, as an NMI makes one, lists all tasks.
  const words = `console=ttyS0 quiet loglevel=4 no_timer_check unknown_nmi_panic panic_print=1 ${cmdline}`;
  return ['--kernel', kernel, ...(initrd === undefined ? [] : ['--initrd', initrd]), '--cmdline', words];
}

async function holderOf(dir: string, options: LabOptions): Promise<ChildProcess> {
  const holder = spawn(join(scripts, 'libvirt'), ['run', dir], {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true, // An interrupt at the terminal must not end guests before the tests have.
    env: {
      ...process.env,
      PARS_LAB_SAVE_FORMAT: options.saveFormat ?? 'raw',
      PARS_LAB_QEMU_CONF: options.qemuConf ?? '',
    },
  });
  await readyOrThrow(holder);
  return holder;
}

/** The holder says `ready` on its stdout; what else it has to say tells why it did not. */
async function readyOrThrow(holder: ChildProcess): Promise<void> {
  const complaints: string[] = [];
  holder.stderr?.on('data', (chunk: Buffer) => complaints.push(chunk.toString()));
  if (!holder.stdout) throw new Error('the holder has no stdout');
  for await (const line of createInterface({ input: holder.stdout })) if (line === 'ready') return;
  throw new Error(`the private libvirtd did not start: ${complaints.join('').trim()}`);
}

async function collect(stream: NodeJS.ReadableStream | null): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream ?? []) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString();
}
