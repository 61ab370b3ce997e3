// SPDX-License-Identifier: Apache-2.0
/** Is the hook where libvirt runs it, does it lead to a program that works, and has the daemon seen it? */
import { stat } from 'node:fs/promises';
import { parseJson } from '../system/json-text.js';
import { isThere, readIfThere, statIfThere } from '../system/absence.js';
import { hookPath, isOurs, type Reload, reloadPath } from '../install/install.js';
import { proveHook } from '../install/prove.js';
import { type Check, failure, ok, warning } from './check.js';
import { daemonId, runningDaemons } from '../libvirt/daemons.js';

const INSTALL = 'run: pars hooks install';

export async function checkHook(hooksDir: string, stateDir: string): Promise<Check[]> {
  const path = await hookPath(hooksDir);
  const text = await readIfThere(path);
  if (text === null)
    return [
      failure(
        'hook',
        'missing',
        `there is no hook at ${path}, so saves are not offloaded and stubs do not start`,
        INSTALL,
      ),
    ];
  if (!(await isOurs(path)))
    return [
      failure(
        'hook',
        'refused',
        `${path} is not the Pars hook`,
        'move it to qemu.d beside the hook of Pars (libvirt 6.5), then run: pars hooks install',
      ),
    ];
  const broken = await brokenPart(path, text);
  if (broken !== null)
    return [failure('hook', 'missing', broken, `${INSTALL} (a stub on this host does not start until then)`)];
  await proveHook(path);
  return [ok('hook', path), await checkLive(path, stateDir)];
}

/** What the hook needs and has not: it must be executable, and so must what it calls. */
async function brokenPart(path: string, text: string): Promise<string | null> {
  if (!(await executable(path))) return `${path} is not executable, so libvirt does not run it`;
  const words = new Map(
    [...text.matchAll(/^(node|program|reader)='(.*)'$/gm)].map(([, name, word]) => [
      name,
      word?.replaceAll("'\\''", "'"),
    ]),
  );
  for (const name of ['node', 'reader'])
    if (!(await executable(words.get(name) ?? '')))
      return `the hook calls ${words.get(name) ?? 'nothing'}, which is not there or not executable`;
  const program = words.get('program') ?? '';
  return (await isThere(program)) ? null : `the hook calls ${program}, which is not there`;
}

/** A daemon knows of a hook that was there when it started, or when it was last told to look (SIGHUP). */
async function checkLive(path: string, stateDir: string): Promise<Check> {
  const daemons = await runningDaemons();
  if (daemons.length === 0)
    return ok('hook live', 'no libvirt daemon is running: it sees the hook when it starts');
  const reload = await lastReload(stateDir);
  const written = (await stat(path)).mtimeMs;
  for (const { name, pid } of daemons) {
    if (reload?.hook === path && reload.daemons.includes(await daemonId(pid))) continue;
    const began = (await statIfThere(`/proc/${pid}`))?.ctimeMs ?? Infinity;
    if (began < written)
      return warning(
        'hook live',
        `${name} (${pid}) has been running since before the hook was written, and may not know of it`,
        `tell it to look: kill -HUP ${pid} (${INSTALL.replace('run: ', '')} does that too)`,
      );
  }
  return ok('hook live', daemons.map(({ name, pid }) => `${name} (${pid})`).join(', '));
}

async function lastReload(stateDir: string): Promise<Reload | null> {
  const text = await readIfThere(reloadPath(stateDir));
  return text === null ? null : ((parseJson(text) as Reload | undefined) ?? null);
}

/** By its mode: whether somebody may run it who is allowed to look. */
async function executable(path: string): Promise<boolean> {
  const stats = await statIfThere(path);
  return stats !== null && (stats.mode & 0o111) !== 0;
}
