// SPDX-License-Identifier: Apache-2.0
/**
 * A copy of this program that the hook can rely on: what it needs and no more, in a directory of its own that
 * is named after its contents, so that an update of the sources never changes what a running guest depends
 * on.
 */
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import {
  chmod,
  copyFile,
  constants,
  cp,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  stat,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { bestEffort } from '../system/best-effort.js';
import { ifThere, namesIn } from '../system/absence.js';
import { syncPath, writeAtomically } from '../system/atomic-file.js';
import { ParsError } from '../errors.js';
import { COPY_MARK, PACKAGE_ROOT } from '../version.js';

export const DEFAULT_PREFIX = '/usr/local/lib/pars';

const BINARIES = ['build/Release/pars.node', 'build/Release/pars-reader'];
/** The runtime: no path of whoever installed it, which an update or a clean-up may take away. */
export const RUNTIME = 'bin/node';
/** For `pars watch`; the hook does without. */
const WATCHER = 'build/Release/pars-watch';
/** Marks a directory as made by us: only such are ever removed. */
const MARK = COPY_MARK;
/** Needed to build the addon, not to run it. */
const BUILD_ONLY = new Set(['node-addon-api']);
/** For those who compile against a package. */
const TYPES = /\.[cm]?ts$/;
/**
 * Not among our dependencies, but taken along where somebody has installed it: for stores that want a
 * Kerberos ticket.
 */
const IF_INSTALLED = ['kerberos'];

interface PackageJson {
  version: string;
  dependencies?: Record<string, string>;
  /** What a package has for each platform: those of others are not there. */
  optionalDependencies?: Record<string, string>;
}

/**
 * Copies the program below `prefix` unless that very program is there already, undamaged; returns its
 * directory.
 */
export async function installProgram(prefix: string): Promise<{ directory: string; copied: boolean }> {
  const name = await programName(PACKAGE_ROOT);
  const directory = join(prefix, name);
  if ((await namesIn(directory)).includes(MARK) && (await nameOfCopy(directory)) === name)
    return { directory, copied: false };
  const temporary = `${directory}.${process.pid}.tmp`;
  try {
    await makeOpenDirectory(temporary);
    await copyProgram(temporary);
    await rm(directory, { recursive: true, force: true });
    await rename(temporary, directory);
    await syncPath(prefix);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
  return { directory, copied: true };
}

/**
 * Removes every program copied below `prefix`, and `prefix` if nothing else is in it; returns what was
 * removed.
 */
export async function removePrograms(prefix: string): Promise<string[]> {
  const removed: string[] = [];
  for (const name of await namesIn(prefix)) {
    const directory = join(prefix, name);
    if (!(await namesIn(directory)).includes(MARK)) continue;
    await rm(directory, { recursive: true });
    removed.push(directory);
  }
  await bestEffort(rmdir(prefix));
  return removed;
}

/** Null for a copy of which something is missing. */
async function nameOfCopy(directory: string): Promise<string | null> {
  return programName(directory).catch((error: unknown) => {
    if (error instanceof ParsError && error.kind === 'missing') return null;
    throw error;
  });
}

async function copyProgram(to: string): Promise<void> {
  for (const path of ['dist', 'hooks', 'package.json'])
    await cp(join(PACKAGE_ROOT, path), join(to, path), { recursive: true });
  for (const path of binariesIn(PACKAGE_ROOT)) {
    await mkdir(dirname(join(to, path)), { recursive: true, mode: 0o755 });
    await cp(join(PACKAGE_ROOT, path), join(to, path));
    await chmod(join(to, path), 0o755);
  }
  await mkdir(dirname(join(to, RUNTIME)), { recursive: true });
  await copyFile(process.execPath, join(to, RUNTIME), constants.COPYFILE_FICLONE);
  for (const directory of await packages()) {
    await cp(join(PACKAGE_ROOT, 'node_modules', directory), join(to, 'node_modules', directory), {
      recursive: true,
      dereference: true,
      filter: (path) => !TYPES.test(path),
    });
  }
  // A start may depend on it right after a power cut.
  await openAndSync(to);
  await writeAtomically(join(to, MARK), `${to}\n`, 0o644);
}

/**
 * Makes everything below a directory durable, and readable for whoever runs it, whatever the umask or the
 * modes of its source are: libvirt's daemon may lack root's privileges.
 */
async function openAndSync(directory: string): Promise<void> {
  await chmod(directory, 0o755);
  const entries = await readdir(directory, { withFileTypes: true });
  const named = (kind: 'isDirectory' | 'isFile'): string[] =>
    entries.filter((entry) => entry[kind]()).map(({ name }) => join(directory, name));
  for (const path of named('isDirectory')) await openAndSync(path);
  // A file system makes many files durable at once as fast as one.
  await Promise.all(
    named('isFile').map(async (path) => {
      await chmod(path, (await stat(path)).mode & 0o111 ? 0o755 : 0o644);
      await syncPath(path);
    }),
  );
  await syncPath(directory);
}

/**
 * Makes a directory, and those above it that are not there, for everybody to look into; others stay as they
 * are.
 */
export async function makeOpenDirectory(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let made = path; made.startsWith(first); made = dirname(made)) await chmod(made, 0o755);
}

/**
 * The packages the program runs with, as paths below node_modules: its dependencies and theirs, of the
 * optional ones those that are there.
 */
async function packages(root = PACKAGE_ROOT): Promise<string[]> {
  const isThere = (name: string): boolean =>
    statSync(join(root, 'node_modules', name, 'package.json'), { throwIfNoEntry: false }) !== undefined;
  const found = new Set<string>();
  const queue = [
    ...Object.keys((await packageJson(root)).dependencies ?? {}),
    ...IF_INSTALLED.filter(isThere),
  ];
  for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
    if (found.has(name) || BUILD_ONLY.has(name)) continue;
    found.add(name);
    const { dependencies = {}, optionalDependencies = {} } = await packageJson(
      join(root, 'node_modules', name),
    );
    // npm lists optional ones among the others as well.
    queue.push(
      ...Object.keys(dependencies).filter((one) => !(one in optionalDependencies)),
      ...Object.keys(optionalDependencies).filter(isThere),
    );
  }
  return [...found];
}

async function packageJson(directory: string): Promise<PackageJson> {
  try {
    return JSON.parse(await readFile(join(directory, 'package.json'), 'utf8')) as PackageJson;
  } catch (cause) {
    throw new ParsError('missing', `${directory} has no readable package.json`, {
      hint: 'run "npm ci" in the directory of pars',
      cause,
    });
  }
}

/**
 * Of the program in a directory: its version, and a digest of what it is made of; of the packages it needs
 * only which there are.
 */
async function programName(root: string): Promise<string> {
  const { version } = await packageJson(root);
  const hash = createHash('sha256');
  const files = (await ifThere(join(root, 'dist'), (dist) => readdir(dist, { recursive: true }), []))
    .filter((name) => /\.c?js$/.test(name))
    .sort();
  for (const path of [
    ...files.map((name) => `dist/${name}`),
    'package.json',
    'hooks/qemu',
    ...binariesIn(root),
  ]) {
    hash.update(path).update(await programFile(join(root, path)));
  }
  hash.update(RUNTIME).update(await programFile(runtimeOf(root)));
  hash.update((await packages(root)).sort().join());
  return `${version}-${hash.digest('hex').slice(0, 12)}`;
}

/** Of a copy its own; of the sources the one that runs them. */
function runtimeOf(root: string): string {
  return root === PACKAGE_ROOT ? process.execPath : join(root, RUNTIME);
}

function binariesIn(root: string): string[] {
  return statSync(join(root, WATCHER), { throwIfNoEntry: false }) !== undefined
    ? [...BINARIES, WATCHER]
    : BINARIES;
}

async function programFile(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new ParsError('missing', `${path} is not there: the program is not built`, {
      hint: 'run "npm run build" first',
      cause,
    });
  }
}
