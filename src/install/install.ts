// SPDX-License-Identifier: Apache-2.0
/** Puts the hook where libvirt runs it, and takes it away. Never over another hook. */
import { mkdir, readFile, rmdir, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { bestEffort } from '../system/best-effort.js';
import { isThere, readIfThere } from '../system/absence.js';
import { writeAtomically } from '../system/atomic-file.js';
import { ParsError } from '../errors.js';
import { readJobs } from '../journal/jobs.js';
import { PACKAGE_ROOT } from '../version.js';
import { installProgram, makeOpenDirectory, removePrograms, RUNTIME } from './program-copy.js';
import { removeOldCopies } from './old-copies.js';
import { proveHook } from './prove.js';
import { liveStubs } from '../image/live-stubs.js';
import { isOutOfSight } from '../image/lost-stubs.js';
import { type KnownStub, StubRegistry } from '../image/stub-registry.js';
import { tellHook } from '../status/save-places.js';
import { shellWord } from '../system/shell-word.js';
import { isAtLeast, type Version } from '../system/version.js';
import { daemonId, libvirtVersion, runningDaemons } from '../libvirt/daemons.js';
import { DEFAULT_HOOKS_DIR } from '../libvirt/paths.js';
import { counted } from '../system/counted.js';

/** What the installed hook says of itself in its second line. */
const SIGNATURE = '# The libvirt hook of Pars';
/** libvirt runs the scripts in qemu.d since 6.5.0. */
const QEMU_D_SINCE: Version = [6, 5];

export interface InstallOptions {
  prefix: string;
  hooksDir: string;
  saveDir: string;
  stateDir: string;
  /** Of the configuration. */
  watch: readonly string[];
  /** Options the hook passes on: --config, --store. */
  programOptions: string[];
}

export interface UninstallOptions {
  prefix: string;
  hooksDir: string;
  stateDir: string;
  force: boolean;
}

/** Installs or renews the hook; returns what was changed, a sentence each. */
export async function installHook(options: InstallOptions): Promise<string[]> {
  const path = await hookPath(options.hooksDir);
  await refuseForeign(path);
  const changes: string[] = [];
  for (const name of ['stubs', 'started', 'jobs'])
    await mkdir(join(options.stateDir, name), { recursive: true, mode: 0o700 });
  await tellHook(options);
  const { directory, copied } = await installProgram(resolve(options.prefix));
  if (copied) changes.push(`copied the program to ${directory}`);
  const text = await hookText(directory, options);
  const before = await readIfThere(path);
  if (before !== text) {
    await makeOpenDirectory(dirname(path));
    await writeAtomically(path, text, 0o755);
    changes.push(`wrote ${path}`);
  }
  await proveHook(path).catch(async (error: unknown) => {
    // What was there may have worked, and does no harm where it did not.
    if (before === null) await unlink(path);
    else await writeAtomically(path, before, 0o755);
    throw error;
  });
  changes.push(await reloadDaemons());
  await rememberReload(options.stateDir, path);
  const hooks = [options.hooksDir, DEFAULT_HOOKS_DIR].flatMap(hookPathsIn);
  const old = await removeOldCopies(resolve(options.prefix), directory, hooks);
  changes.push(...old.map((gone) => `removed ${gone}, which nothing uses any more`));
  return changes;
}

/**
 * Takes the hook and the copied programs away. Refused while this host has stubs (R29), which could not be
 * resumed any more.
 */
export async function uninstallHook(options: UninstallOptions): Promise<string[]> {
  if (!options.force) await refuseWhileNeeded(options);
  const changes: string[] = [];
  for (const path of hookPathsIn(options.hooksDir)) {
    if (!(await isOurs(path))) continue;
    await unlink(path);
    changes.push(`removed ${path}`);
  }
  // Others' hooks may be in it.
  await bestEffort(rmdir(join(options.hooksDir, 'qemu.d')));
  changes.push(...(await removePrograms(resolve(options.prefix))).map((directory) => `removed ${directory}`));
  if (changes.length > 0) changes.push(await reloadDaemons());
  return changes;
}

async function refuseWhileNeeded({ stateDir }: UninstallOptions): Promise<void> {
  const running = (await readJobs(stateDir)).find((job) => job.state === 'running');
  if (running)
    throw new ParsError('busy', `${running.image} is being worked on (${running.kind})`, {
      hint: 'wait until "pars status" shows nothing running',
    });
  const registry = new StubRegistry(stateDir);
  const stubs = (await liveStubs(registry)).filter(({ consumed }) => consumed !== true);
  if (stubs.length > 0) throw needed(`this host has ${counted(stubs.length, 'stub')}`, stubs);
  const unseen: KnownStub[] = [];
  for (const stub of await registry.all())
    if (stub.consumed !== true && (await isOutOfSight(stub))) unseen.push(stub);
  if (unseen.length > 0)
    throw needed(
      `this host may have ${counted(unseen.length, 'stub')}, on disks that are not mounted,`,
      unseen,
    );
}

function needed(what: string, stubs: readonly KnownStub[]): ParsError {
  return new ParsError(
    'refused',
    `${what} that could not be started without the hook: ${stubs.map(({ image }) => image).join(', ')}`,
    {
      hint:
        'bring them back first with: pars hydrate IMAGE... (or --force, and hydrate by hand before '
        + 'each start)',
    },
  );
}

async function hookText(program: string, options: InstallOptions): Promise<string> {
  const template = await readFile(join(PACKAGE_ROOT, 'hooks', 'qemu'), 'utf8');
  const values: Record<string, string> = {
    NODE: shellWord(join(program, RUNTIME)),
    PROGRAM: shellWord(join(program, 'dist', 'cli.js')),
    READER: shellWord(join(program, 'build', 'Release', 'pars-reader')),
    STATE: shellWord(options.stateDir),
    SAVES: shellWord(options.saveDir),
    OPTIONS: options.programOptions.map(shellWord).join(' '),
  };
  return template.replace(/@([A-Z]+)@/g, (placeholder, name: string) => values[name] ?? placeholder);
}

/** qemu.d/pars where libvirt reads that directory, else the one file `qemu`. */
export async function hookPath(hooksDir: string): Promise<string> {
  const [inDirectory, alone] = hookPathsIn(hooksDir);
  return isAtLeast(await libvirtVersion(), QEMU_D_SINCE) ? inDirectory : alone;
}

function hookPathsIn(hooksDir: string): [inDirectory: string, alone: string] {
  return [join(hooksDir, 'qemu.d', 'pars'), join(hooksDir, 'qemu')];
}

async function refuseForeign(path: string): Promise<void> {
  if (!(await isThere(path)) || (await isOurs(path))) return;
  throw new ParsError('refused', `${path} is not the Pars hook (left unchanged)`, {
    hint:
      'with libvirt 6.5 or later several hooks can stand side by side in qemu.d; with an older one, '
      + 'call this program from your hook by hand',
  });
}

export async function isOurs(path: string): Promise<boolean> {
  const text = (await readIfThere(path)) ?? '';
  return text.split('\n')[1]?.startsWith(SIGNATURE) ?? false;
}

/** libvirt's daemons remember which hooks exist until SIGHUP. */
async function reloadDaemons(): Promise<string> {
  const daemons = await runningDaemons();
  for (const { pid } of daemons) process.kill(pid, 'SIGHUP');
  if (daemons.length === 0) return 'no libvirt daemon is running: it will see the change when it starts';
  return `reloaded ${daemons.map(({ name, pid }) => `${name} (${pid})`).join(', ')}`;
}

export interface Reload {
  hook: string;
  /** Those that were running then, by pid and start time. */
  daemons: string[];
}

/** Which daemons have seen the hook since it was written: nothing else tells. */
async function rememberReload(stateDir: string, hook: string): Promise<void> {
  const reload: Reload = {
    hook,
    daemons: await Promise.all((await runningDaemons()).map(({ pid }) => daemonId(pid))),
  };
  await writeAtomically(reloadPath(stateDir), `${JSON.stringify(reload)}\n`);
}

export function reloadPath(stateDir: string): string {
  return join(stateDir, 'hook-reload.json');
}
