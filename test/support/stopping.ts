// SPDX-License-Identifier: Apache-2.0
/**
 * Stops a piece of work before its k-th change to a file system, for any k, and lets go of its descriptors
 * and children as the kernel does when a process dies: nothing the work would have done afterwards happens,
 * no clean-up, no second thought. Every call of node:fs/promises, of a file handle and of the addon that
 * changes anything is counted. To be imported before anything that uses them.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import childProcess, { type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import timers from 'node:timers/promises';
import { native, type Native } from '../../src/native.js';

class Run {
  /** What was done, in order. */
  readonly done: string[] = [];
  readonly #limit: number;
  readonly #handles = new Set<FileHandle>();
  readonly #children = new Set<ChildProcess>();
  readonly #begun = new Set<Promise<unknown>>();
  #die: () => void = () => {};
  stopped = false;
  readonly death = new Promise<'stopped'>((resolve) => (this.#die = () => resolve('stopped')));

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** True when the work may go on with this change. */
  step(name: string): boolean {
    if (!this.stopped && this.done.length === this.#limit) {
      this.stopped = true;
      for (const child of this.#children) child.kill('SIGKILL');
      this.#die();
    }
    if (!this.stopped) this.done.push(name);
    return !this.stopped;
  }

  track(thing: FileHandle | ChildProcess): void {
    if ('pid' in thing) this.#children.add(thing);
    else this.#handles.add(thing as FileHandle);
  }

  /** A change that others of the same process are in the middle of when it stops. */
  begin(change: unknown): void {
    if (!(change instanceof Promise)) return;
    this.#begun.add(change);
    const end = (): void => void this.#begun.delete(change);
    change.then(end, end);
  }

  /** Descriptors go last: a change under way must not find its number given to another file. */
  async bury(): Promise<void> {
    if (this.stopped)
      for (const child of this.#children)
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    await Promise.allSettled(this.#begun);
    for (const handle of this.#handles) await handle.close().catch(() => {});
  }
}

const runs = new AsyncLocalStorage<Run>();
const never = (): Promise<never> => new Promise(() => {});

type Call = (this: unknown, ...args: unknown[]) => unknown;

function counted(name: string, original: Call, changes: (args: unknown[]) => boolean = () => true): Call {
  return function (...args) {
    const run = runs.getStore();
    if (run && (run.stopped || (changes(args) && !run.step(name)))) return never();
    const result = original.apply(this, args);
    run?.begin(result);
    return result;
  };
}

const CHANGES = [
  'mkdir',
  'rm',
  'rmdir',
  'unlink',
  'rename',
  'link',
  'symlink',
  'copyFile',
  'cp',
  'writeFile',
  'appendFile',
  'truncate',
  'utimes',
  'chmod',
] as const;
const READS = ['readdir', 'readFile', 'stat', 'lstat', 'access', 'realpath', 'readlink', 'statfs'] as const;
const HANDLE_CHANGES = [
  'write',
  'writev',
  'writeFile',
  'appendFile',
  'truncate',
  'sync',
  'datasync',
  'chmod',
  'utimes',
] as const;
const ADDON_CHANGES = ['punchHole', 'reserve'] as const;

const probe = await fs.open('/dev/null');
const Handle = Object.getPrototypeOf(probe) as Record<string, Call>;
await probe.close();

function patch(
  target: Record<string, Call>,
  names: readonly string[],
  prefix: string,
  changes?: () => boolean,
): void {
  for (const name of names) target[name] = counted(`${prefix}${name}`, target[name]!, changes);
}

patch(fs as unknown as Record<string, Call>, CHANGES, '');
patch(fs as unknown as Record<string, Call>, READS, '', () => false);
patch(timers as unknown as Record<string, Call>, ['setTimeout'], '', () => false);
patch(Handle, HANDLE_CHANGES, 'handle.');
patch(native() as unknown as Record<string, Call>, ADDON_CHANGES, 'addon.');
(native() as { startWriteback: Native['startWriteback'] }).startWriteback = guardSync(
  native().startWriteback,
  undefined,
);
(native() as { takeWriteLease: Native['takeWriteLease'] }).takeWriteLease = guardSync(
  native().takeWriteLease,
  false,
);
(native() as { tryLock: Native['tryLock'] }).tryLock = guardSync(native().tryLock, false);

function guardSync<A extends unknown[], R>(original: (...args: A) => R, dead: R): (...args: A) => R {
  return (...args) => (runs.getStore()?.stopped ? dead : original(...args));
}

const open = fs.open;
fs.open = counted(
  'open',
  open as Call,
  ([, flags]) =>
    flags !== undefined && flags !== 'r' && (typeof flags !== 'number' || (flags & 0o101) === 0o101),
) as typeof fs.open;
const opened = fs.open;
fs.open = async (...args: Parameters<typeof open>) => {
  const handle = await opened(...args);
  const run = runs.getStore();
  if (run?.stopped) await handle.close();
  else run?.track(handle);
  return run?.stopped ? never() : handle;
};

const spawn = childProcess.spawn as Call;
childProcess.spawn = function (this: unknown, ...args: unknown[]) {
  const run = runs.getStore();
  if (run?.stopped) throw new Error('stopped');
  const child = spawn.apply(this, args) as ChildProcess;
  run?.track(child);
  return child;
} as typeof childProcess.spawn;
syncBuiltinESMExports();

export interface Stopped {
  /** False: it ran to its end, with fewer changes than it may make. */
  stopped: boolean;
  /** The changes it made. */
  done: string[];
  error: unknown;
}

/** Runs `work` until it would make one change more than `limit`. */
export async function stopAfter(limit: number, work: () => Promise<unknown>): Promise<Stopped> {
  const run = new Run(limit);
  let error: unknown = null;
  const ended = runs.run(run, () =>
    work().then(
      () => 'ended' as const,
      (thrown: unknown) => ((error = thrown), 'ended' as const),
    ),
  );
  const outcome = await Promise.race([ended, run.death]);
  await run.bury();
  return { stopped: outcome === 'stopped', done: run.done, error };
}

/**
 * After a stop: what the work noted of itself below `stateDir` names a process that is gone, while this one,
 * which stood for it, lives on.
 */
export async function forgetProcess(stateDir: string): Promise<void> {
  const jobs = join(stateDir, 'jobs');
  for (const name of (await fs.readdir(jobs).catch(() => [])).filter((file) => file.endsWith('.json'))) {
    const note = JSON.parse(await fs.readFile(join(jobs, name), 'utf8')) as { processStart?: string };
    await fs.writeFile(join(jobs, name), JSON.stringify({ ...note, processStart: 'another boot/1' }));
  }
}
