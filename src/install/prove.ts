// SPDX-License-Identifier: Apache-2.0
/**
 * Whether the installed hook can run what it calls: tried by running it as libvirt's daemon does, under the
 * profile that confines that daemon, with nothing of this process's environment.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ParsError } from '../errors.js';
import { runningDaemons } from '../libvirt/daemons.js';
import { readIfThere } from '../system/absence.js';

/** As systemd gives it to its services. */
const ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };
const LONGEST_MS = 60_000;

/** What AppArmor is told to run the next program under, before the hook is run. */
const UNDER_PROFILE = 'echo "exec $1" >/proc/self/attr/apparmor/exec && exec "$2" prove';

/** Throws 'refused' with what the hook said when it cannot do its work. */
export async function proveHook(hook: string): Promise<void> {
  const profiles = new Set(await Promise.all((await runningDaemons()).map(({ pid }) => profileOf(pid))));
  await run(hook, [hook, 'prove']);
  for (const profile of profiles)
    if (profile !== null) await run(hook, ['/bin/sh', '-c', UNDER_PROFILE, 'sh', profile, hook], profile);
}

async function run(
  hook: string,
  [command = '', ...args]: readonly string[],
  profile?: string,
): Promise<void> {
  const options = { cwd: '/', env: ENVIRONMENT, timeout: LONGEST_MS };
  await promisify(execFile)(command, args, options).catch((cause: Error & { stderr?: string }) => {
    const said = (cause.stderr ?? '').trim() || cause.message;
    const where = profile === undefined ? '' : ` under the AppArmor profile ${profile}`;
    throw new ParsError('refused', `what the hook ${hook} calls cannot be run${where}: ${brief(said)}`, {
      hint:
        profile === undefined
          ? 'see that the file system of --prefix may execute programs and everybody may read it, or name '
            + 'another directory with --prefix; the hook that was there before, if any, is unchanged'
          : `allow it in /etc/apparmor.d/local/usr.sbin.${profile.replace(/.*\//, '')}, `
            + 'then: systemctl reload apparmor',
      cause,
    });
  });
}

/** Null when nothing confines it. */
async function profileOf(pid: number): Promise<string | null> {
  const label = ((await readIfThere(`/proc/${pid}/attr/apparmor/current`)) ?? '').trim();
  return /^(\S+) \(enforce\)$/.exec(label)?.[1] ?? null;
}

/** Of the trace of a runtime that cannot load the program, the line that says why. */
function brief(said: string): string {
  const lines = said.split('\n').map((line) => line.trim());
  return lines.find((line) => /^pars: |Error|denied|not found|[Cc]annot/.test(line)) ?? lines[0] ?? '';
}
