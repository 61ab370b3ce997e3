// SPDX-License-Identifier: Apache-2.0
/**
 * The reader's jail, seen from outside (safety rule R1). Needs the test binary jail-test, which is built with
 * everything else.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const JAIL_TEST = fileURLToPath(new URL('../../build/Release/jail-test', import.meta.url));
const isRoot = process.getuid?.() === 0;

let directory: string, image: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'pars-jail-'));
  image = join(directory, 'image');
  writeFileSync(image, 'not an image, but a file', { mode: 0o600 });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Outcome {
  code: number | null;
  signal: string | null;
  /** It said that it was inside. */
  entered: boolean;
}

function start(action: string, flags = 'r', command = [JAIL_TEST]): ChildProcess {
  const fd = openSync(image, flags);
  try {
    return spawn(command[0]!, [...command.slice(1), action], {
      stdio: ['pipe', 'pipe', 'pipe', fd, 'pipe', 'pipe'],
    });
  } finally {
    closeSync(fd);
  }
}

/**
 * Resolves once it says that it is inside, or will say nothing any more: news of its end may come before what
 * it said.
 */
async function entered(child: ChildProcess): Promise<boolean> {
  const answer = child.stdio[4];
  if (!answer || !('read' in answer)) throw new Error('no descriptor 4');
  const first = await Promise.race([once(answer, 'data'), once(answer, 'end')]);
  return String(first[0]) === 'in\n';
}

async function run(action: string, flags?: string, command?: string[]): Promise<Outcome> {
  const child = start(action, flags, command);
  const exit = once(child, 'exit');
  const inside = await entered(child);
  child.stdin?.end();
  const [code, signal] = (await exit) as [number | null, string | null];
  return { code, signal, entered: inside };
}

it('the jail test is built', () => {
  expect(existsSync(JAIL_TEST), `${JAIL_TEST} is missing: run "npm run build:tests"`).toBe(true);
});

describe('from outside', () => {
  it('a jailed process has no privileges, a system call filter, its own user, nothing open', async () => {
    const child = start('wait');
    const exit = once(child, 'exit');
    expect(await entered(child)).toBe(true);
    const status = Object.fromEntries(
      readFileSync(`/proc/${child.pid}/status`, 'utf8')
        .split('\n')
        .map((line) => line.split(/:\s*/, 2) as [string, string]),
    );
    expect(status['NoNewPrivs']).toBe('1');
    expect(status['Seccomp']).toBe('2');
    if (isRoot) {
      const uids = status['Uid']!.split('\t').map(Number),
        gids = status['Gid']!.split('\t').map(Number);
      for (const id of [...uids, ...gids]) {
        expect(id).toBe(0x70000000 + child.pid!);
      }
      expect(status['Groups']?.trim() ?? '').toBe('');
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'])
        expect(status[set]).toBe('0000000000000000');
      expect(readdirSync(`/proc/${child.pid}/fd`).sort()).toEqual(['0', '2', '3', '4']);
    }
    const limits = readFileSync(`/proc/${child.pid}/limits`, 'utf8');
    expect(limits).toMatch(/Max file size\s+0\s+0/);
    expect(limits).toMatch(/Max core file size\s+0\s+0/);
    expect(limits).toMatch(/Max data size\s+\d+\s+\d+/);
    expect(limits).toMatch(/Max cpu time\s+3600\s+3660/);
    child.stdin?.end();
    expect(await exit).toEqual([0, null]);
  });

  it('a process in the jail dies with its parent', async () => {
    const script = `
      const { spawn } = require('node:child_process');
      const fd = require('node:fs').openSync(${JSON.stringify(image)}, 'r');
      const stdio = ['pipe', 'pipe', 'pipe', fd, 'pipe'];
      const child = spawn(${JSON.stringify(JAIL_TEST)}, ['wait'], { stdio });
      child.stdio[4].once('data', () => { console.log(child.pid); });`;
    const parent = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    expect(alive(pid)).toBe(true);
    parent.kill('SIGKILL');
    await expect.poll(() => alive(pid)).toBe(false);
  });
});

function alive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

describe('what is left', () => {
  it.each(['read-image', 'map-image', 'thread', 'allocate', 'signal-itself'])('%s works', async (action) => {
    expect(await run(action)).toEqual({ code: 0, signal: null, entered: true });
  });
});

describe('what is not', () => {
  it.each([
    'socket',
    'connect',
    'fork',
    'exec',
    'executable-memory',
    'make-executable',
    'kill-parent',
    'trace-parent',
    'root-again',
    'duplicate',
  ])('%s ends the process', async (action) => {
    expect(await run(action)).toEqual({ code: null, signal: 'SIGSYS', entered: true });
  });

  // Refusing or dying: either way nothing is opened.
  it.each(['open', 'create', 'reopen-image', 'stat', 'write-image', 'descriptor-5'])(
    '%s never works',
    async (action) => {
      const outcome = await run(action);
      expect(outcome.entered).toBe(true);
      expect([10, null]).toContain(outcome.code);
    },
  );
});

describe('what would harm others (row 4)', () => {
  it.each(['shared-memory', 'signal-another'])('%s ends the process', async (action) => {
    expect(await run(action)).toEqual({ code: null, signal: 'SIGSYS', entered: true });
  });

  it.runIf(isRoot)('threads are few', async () => {
    expect(await run('many-threads')).toEqual({ code: 10, signal: null, entered: true });
  });

  it.runIf(isRoot)('it has a user of its own, and goes first when memory runs out', async () => {
    const child = start('wait');
    const exit = once(child, 'exit');
    expect(await entered(child)).toBe(true);
    expect(readFileSync(`/proc/${child.pid}/oom_score_adj`, 'utf8').trim()).toBe('1000');
    expect(readFileSync(`/proc/${child.pid}/status`, 'utf8')).toContain(`Uid:\t${0x70000000 + child.pid!}\t`);
    child.stdin?.end();
    await exit;
  });

  it.runIf(isRoot)("an ordinary user's ambient capabilities are given up", async () => {
    const child = start('wait', 'r', [
      ...['setpriv', '--reuid=65534', '--inh-caps=+kill', '--ambient-caps=+kill', '--', JAIL_TEST],
    ]);
    const exit = once(child, 'exit');
    expect(await entered(child)).toBe(true);
    const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'])
      expect(status).toContain(`${set}:\t0000000000000000`);
    child.stdin?.end();
    await exit;
  });
});

describe('processor time', () => {
  const inherited = (limit: string): string[] => ['sh', '-c', `ulimit ${limit}; exec "$0" "$@"`, JAIL_TEST];

  it('that is used up ends the process by SIGXCPU, before an hour where less was given', async () => {
    expect(await run('spin', 'r', inherited('-S -t 1'))).toEqual({
      code: null,
      signal: 'SIGXCPU',
      entered: true,
    });
  });

  it('grows with the image', async () => {
    truncateSync(image, 100 * 2 ** 30);
    const child = start('wait');
    const exit = once(child, 'exit');
    expect(await entered(child)).toBe(true);
    expect(readFileSync(`/proc/${child.pid}/limits`, 'utf8')).toMatch(/Max cpu time\s+208400\s+208460/);
    child.stdin?.end();
    await exit;
    truncateSync(image, 24);
  });
});

describe('entering', () => {
  it('is refused with an image that could be written', async () => {
    const outcome = await run('wait', 'r+');
    expect(outcome).toEqual({ code: 11, signal: null, entered: false });
  });
});
